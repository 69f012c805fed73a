//! The OpenAPI v2 document, made of all v3 documents: the same definitions and operations in the older words. For clients from before v3.

use serde_json::{Map, Value, json};

const V3_REF: &str = "#/components/schemas/";
const V2_REF: &str = "#/definitions/";

/// Makes the document of `documents` (v3), `version` being the server's.
#[must_use]
pub fn document(documents: &[Value], version: &str) -> Value {
    let mut paths = Map::new();
    let mut definitions = Map::new();
    for document in documents {
        for (path, item) in entries(document, "/paths") {
            paths.insert(path.clone(), path_item(item));
        }
        for (name, schema) in entries(document, "/components/schemas") {
            if !definitions.contains_key(name) {
                definitions.insert(name.clone(), older(schema));
            }
        }
    }
    json!({
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": version},
        "paths": paths, "definitions": definitions,
    })
}

fn entries<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// The operations of a path: what names them and their query parameters.
fn path_item(item: &Value) -> Value {
    let operations = item.as_object().into_iter().flatten();
    let operations = operations
        .filter(|(method, _)| ["get", "put", "post", "delete", "patch"].contains(&method.as_str()));
    let operations = operations.map(|(method, operation)| {
        let fields = operation.as_object().into_iter().flatten();
        let mut kept: Map<String, Value> = fields
            .filter(|(name, _)| name.starts_with("x-") || *name == "operationId")
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let parameters = operation.get("parameters").and_then(Value::as_array);
        let parameters: Vec<Value> = parameters
            .into_iter()
            .flatten()
            .filter_map(parameter)
            .collect();
        kept.insert("parameters".to_owned(), Value::from(parameters));
        (method.clone(), Value::Object(kept))
    });
    Value::Object(operations.collect())
}

/// A parameter of the query; v2 has its type beside its name.
fn parameter(of: &Value) -> Option<Value> {
    if of.get("in")? != "query" {
        return None;
    }
    Some(json!({
        "in": "query", "name": of.get("name")?,
        "description": of.get("description").cloned().unwrap_or_else(|| json!("")),
        "type": of.pointer("/schema/type").cloned().unwrap_or_else(|| json!("string")),
    }))
}

/// A schema in v2's words: references to definitions, no `allOf` around a single reference, no choices between types.
fn older(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            "$ref" => {
                out.insert(name.clone(), json!(reference(value)));
            }
            "allOf" => {
                let first = value.pointer("/0/$ref");
                out.extend(first.map(|to| ("$ref".to_owned(), json!(reference(to)))));
            }
            // A whole number or text: v2 can say text only, with a format that tells.
            "oneOf" | "anyOf" => {
                out.insert("type".to_owned(), json!("string"));
            }
            "properties" => {
                let inner = value.as_object().into_iter().flatten();
                let inner: Map<_, _> = inner
                    .map(|(name, schema)| (name.clone(), older(schema)))
                    .collect();
                out.insert(name.clone(), Value::Object(inner));
            }
            "items" | "additionalProperties" => {
                out.insert(name.clone(), older(value));
            }
            "type" | "format" | "description" | "required" => {
                out.insert(name.clone(), value.clone());
            }
            name if name.starts_with("x-") => {
                out.insert(name.to_owned(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(out)
}

fn reference(to: &Value) -> String {
    let to = to.as_str().unwrap_or_default();
    format!("{V2_REF}{}", to.strip_prefix(V3_REF).unwrap_or(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_said_in_older_words() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"allOf": [{"$ref": "#/components/schemas/X"}], "default": {}, "description": "d"},
            "b": {"type": "array", "items": {"$ref": "#/components/schemas/Y"}, "x-kubernetes-list-type": "atomic"},
            "c": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
            "d": {"type": "object", "additionalProperties": {"type": "string"}, "nullable": true},
        }});
        assert_eq!(
            older(&schema),
            json!({"type": "object", "required": ["a"], "properties": {
                "a": {"$ref": "#/definitions/X", "description": "d"},
                "b": {"type": "array", "items": {"$ref": "#/definitions/Y"}, "x-kubernetes-list-type": "atomic"},
                "c": {"type": "string", "format": "int-or-string"},
                "d": {"type": "object", "additionalProperties": {"type": "string"}},
            }})
        );
    }

    #[test]
    fn operations_keep_their_kind_and_query() {
        let v3 = json!({"paths": {"/api/v1/pods": {"parameters": [], "patch": {
            "operationId": "p", "requestBody": {}, "x-kubernetes-action": "patch",
            "parameters": [{"in": "query", "name": "fieldValidation", "schema": {"type": "string"}}, {"in": "path", "name": "name"}]}}}});
        let v2 = document(&[v3], "v1");
        assert_eq!(
            v2["paths"],
            json!({"/api/v1/pods": {"patch": {"operationId": "p", "x-kubernetes-action": "patch",
            "parameters": [{"in": "query", "name": "fieldValidation", "description": "", "type": "string"}]}}})
        );
    }
}
