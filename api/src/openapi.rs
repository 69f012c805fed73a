//! OpenAPI v3 documents, one per group and version, made from the registry and the structures: enough for kubectl's validation, explain and
//! apply, and for client generators to know the kinds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{
    registry::{Registry, Resource, Scope, Verb},
    schema::{Catalog, Struct, Type},
};

/// The groups and versions that have a document, as the last parts of its path: `api/v1`, `apis/apps/v1`.
#[must_use]
pub fn documents(registry: &Registry) -> BTreeSet<String> {
    registry.iter().map(|row| document_path(row)).collect()
}

fn document_path(row: &Resource) -> String {
    if row.group.is_empty() {
        format!("api/{}", row.version)
    } else {
        format!("apis/{}/{}", row.group, row.version)
    }
}

/// The document of a group and version; `None` when nothing of it is served.
#[must_use]
pub fn document(registry: &Registry, path: &str) -> Option<Value> {
    let rows: Vec<_> = registry
        .iter()
        .filter(|row| document_path(row) == path)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let mut wanted: Vec<(std::sync::Arc<Catalog>, String)> = Vec::new();
    let mut kinds: BTreeMap<String, Value> = BTreeMap::new();
    for row in &rows {
        let schema = row.schema();
        let Type::Struct(name) = &schema.root else {
            continue;
        };
        kinds.insert(name.to_string(), group_version_kind(row));
        wanted.push((std::sync::Arc::clone(&schema.catalog), name.to_string()));
        add_paths(row, name, &mut paths);
    }
    while let Some((catalog, name)) = wanted.pop() {
        if schemas.contains_key(&name) {
            continue;
        }
        let Some(structure) = catalog.get(&name) else {
            continue;
        };
        let mut shown = show_struct(structure);
        if let (Some(kind), Some(shown)) = (kinds.get(&name), shown.as_object_mut()) {
            shown.insert("x-kubernetes-group-version-kind".to_owned(), json!([kind]));
        }
        schemas.insert(name, shown);
        for field in structure.fields.values() {
            references(&field.of, &mut |of| {
                wanted.push((std::sync::Arc::clone(&catalog), of.to_owned()))
            });
        }
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": { "title": "Coracle", "version": "v1" },
        "paths": paths,
        "components": { "schemas": schemas },
    }))
}

fn references(of: &Type, found: &mut impl FnMut(&str)) {
    match of {
        Type::Struct(name) => found(name),
        Type::Map(inner) | Type::List(inner) => references(inner, found),
        _ => {}
    }
}

fn group_version_kind(row: &Resource) -> Value {
    json!({ "group": row.group, "version": row.version, "kind": row.kind })
}

fn add_paths(row: &Resource, definition: &str, paths: &mut Map<String, Value>) {
    let prefix = format!("/{}", document_path(row));
    let (collection, mut parameters) = match row.scope {
        Scope::Cluster => (format!("{prefix}/{}", row.plural), Vec::new()),
        Scope::Namespaced => (
            format!("{prefix}/namespaces/{{namespace}}/{}", row.plural),
            vec![path_parameter("namespace")],
        ),
    };
    let mut operations = operations(
        row,
        definition,
        &[
            (Verb::List, "get"),
            (Verb::Create, "post"),
            (Verb::DeleteCollection, "delete"),
        ],
    );
    operations.insert("parameters".to_owned(), parameters.clone().into());
    paths.insert(collection.clone(), Value::Object(operations));
    parameters.push(path_parameter("name"));
    let verbs = [
        (Verb::Get, "get"),
        (Verb::Update, "put"),
        (Verb::Patch, "patch"),
        (Verb::Delete, "delete"),
    ];
    let mut operations = self::operations(row, definition, &verbs);
    operations.insert("parameters".to_owned(), parameters.into());
    paths.insert(format!("{collection}/{{name}}"), Value::Object(operations));
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "uniqueItems": true } })
}

/// The operations of one path.
fn operations(row: &Resource, definition: &str, verbs: &[(Verb, &str)]) -> Map<String, Value> {
    let reference = json!({ "$ref": format!("#/components/schemas/{definition}") });
    let mut operations = Map::new();
    for (verb, method) in verbs.iter().filter(|(verb, _)| row.allows(*verb)) {
        let action = match verb {
            Verb::Create => "post",
            Verb::Update => "put",
            other => other.as_str(),
        };
        let mut operation = json!({
            "operationId": format!("{action}{}{}{}", capital(&row.group), capital(&row.version), row.kind),
            "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": reference } } } },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": group_version_kind(row),
        });
        let writes = matches!(verb, Verb::Create | Verb::Update | Verb::Patch);
        if let (true, Some(operation)) = (writes, operation.as_object_mut()) {
            let query = |name: &str, kind: &str| json!({ "name": name, "in": "query", "schema": { "type": kind, "uniqueItems": true } });
            let mut parameters = vec![
                query("dryRun", "string"),
                query("fieldManager", "string"),
                query("fieldValidation", "string"),
            ];
            let content = if *verb == Verb::Patch {
                parameters.push(query("force", "boolean"));
                let any = json!({ "schema": { "type": "object" } });
                json!({
                    "application/json-patch+json": any,
                    "application/merge-patch+json": any,
                    "application/strategic-merge-patch+json": any,
                })
            } else {
                json!({ "*/*": { "schema": reference } })
            };
            operation.insert("parameters".to_owned(), parameters.into());
            operation.insert(
                "requestBody".to_owned(),
                json!({ "required": true, "content": content }),
            );
        }
        operations.insert((*method).to_owned(), operation);
    }
    operations
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + characters.as_str()
    })
}

fn show_struct(structure: &Struct) -> Value {
    let mut properties = Map::new();
    for (name, field) in &structure.fields {
        let mut shown = show_type(&field.of);
        if let Some(map) = shown.as_object_mut() {
            // A reference stands alone; what is said about the field goes around it.
            if let Some(reference) = map.remove("$ref") {
                map.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
                map.insert("default".to_owned(), json!({}));
            }
            if !field.description.is_empty() {
                map.insert(
                    "description".to_owned(),
                    Value::String(field.description.to_string()),
                );
            }
            add_merging(field, map);
        }
        properties.insert(name.to_string(), shown);
    }
    let mut shown = json!({ "type": "object", "properties": properties });
    if let Some(map) = shown.as_object_mut() {
        if structure.atomic {
            map.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
        if !structure.description.is_empty() {
            map.insert(
                "description".to_owned(),
                Value::String(structure.description.to_string()),
            );
        }
        if !structure.required.is_empty() {
            map.insert(
                "required".to_owned(),
                structure
                    .required
                    .iter()
                    .map(|name| Value::String(name.to_string()))
                    .collect(),
            );
        }
    }
    shown
}

/// The extensions from which clients compute patches themselves.
fn add_merging(field: &crate::schema::Field, map: &mut Map<String, Value>) {
    let merging = &field.merging;
    let strategy = match (merging.patch_key, merging.retain_keys) {
        (Some(_), true) => Some("merge,retainKeys"),
        (Some(_), false) => Some("merge"),
        (None, true) => Some("retainKeys"),
        (None, false) => None,
    };
    if let Some(strategy) = strategy {
        map.insert("x-kubernetes-patch-strategy".to_owned(), strategy.into());
    }
    if let Some(key) = merging.patch_key.filter(|key| !key.is_empty()) {
        map.insert("x-kubernetes-patch-merge-key".to_owned(), key.into());
    }
    if matches!(field.of, Type::List(_)) {
        let kind = match merging.list_keys.as_slice() {
            [] => "atomic",
            [""] => "set",
            keys => {
                map.insert(
                    "x-kubernetes-list-map-keys".to_owned(),
                    keys.iter().copied().map(Value::from).collect(),
                );
                "map"
            }
        };
        map.insert("x-kubernetes-list-type".to_owned(), kind.into());
    }
    if merging.atomic {
        map.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if let Some(default) = merging.default {
        map.insert("default".to_owned(), default.into());
    }
}

fn show_type(of: &Type) -> Value {
    match of {
        Type::Struct(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        Type::Map(inner) => json!({ "type": "object", "additionalProperties": show_type(inner) }),
        Type::List(inner) => json!({ "type": "array", "items": show_type(inner) }),
        Type::String("") => json!({ "type": "string" }),
        Type::String(format) => json!({ "type": "string", "format": format }),
        Type::Integer(bits) => json!({ "type": "integer", "format": format!("int{bits}") }),
        Type::Number => json!({ "type": "number" }),
        Type::Boolean => json!({ "type": "boolean" }),
        Type::IntOrString => {
            json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }], "format": "int-or-string" })
        }
        Type::Quantity => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        Type::Any => json!({ "type": "object" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_resolves_its_references() {
        let registry = Registry::builtin();
        for path in documents(&registry) {
            let document = document(&registry, &path).unwrap();
            let text = document.to_string();
            for part in text.split("#/components/schemas/").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(
                    document["components"]["schemas"].get(name).is_some(),
                    "{path}: {name}"
                );
            }
        }
    }

    #[test]
    fn kubectl_finds_field_validation_on_the_patch_of_a_kind() {
        let document = document(&Registry::builtin(), "apis/apps/v1").unwrap();
        let patch =
            &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"]["kind"],
            "Deployment"
        );
        assert!(
            patch["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|parameter| parameter["name"] == "fieldValidation")
        );
        let containers = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
            ["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    }
}
