//! Checks a decoded value against its kind's structure: values of the wrong JSON type, which are always refused, and fields that the kind does not
//! have, which the request's `fieldValidation` refuses, warns about or ignores. The words are those of upstream's decoder.

use serde_json::Value;

use crate::schema::{Schema, Type};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// The first value of a wrong type, in the words of Go's decoder; upstream stops there too.
    pub mistyped: Option<String>,
    /// The paths of fields that the kind does not have, in the order of the object.
    pub unknown: Vec<String>,
}

/// As many unknown fields are remembered.
const UNKNOWN_LIMIT: usize = 100;

/// Checks `value` against `schema`. Unknown fields are removed from it, as decoding into a type would lose them.
pub fn check(value: &mut Value, schema: &Schema) -> Findings {
    let mut findings = Findings::default();
    let kind = schema
        .resolve(&schema.root)
        .map(|root| short(&root.name).to_owned())
        .unwrap_or_default();
    let place = Place {
        structure: &kind,
        path: "",
    };
    visit(value, &schema.root, schema, &place, &mut findings);
    findings
}

/// The message of a strict decoding error.
#[must_use]
pub fn message(unknown: &[String], duplicates: &[String]) -> String {
    let duplicates = duplicates
        .iter()
        .map(|path| format!("duplicate field {path:?}"));
    let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
    duplicates.chain(unknown).collect::<Vec<_>>().join(", ")
}

/// Where the check is: Go's messages name the struct and the path.
struct Place<'a> {
    structure: &'a str,
    path: &'a str,
}

impl Place<'_> {
    fn mistyped(&self, value: &Value, expected: &str, findings: &mut Findings) {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        // Go names list elements by their list.
        let path: String = self
            .path
            .split('.')
            .map(|part| part.split('[').next().unwrap_or(part))
            .collect::<Vec<_>>()
            .join(".");
        let message = format!(
            "json: cannot unmarshal {found} into Go struct field {}.{path} of type {expected}",
            self.structure
        );
        findings.mistyped.get_or_insert(message);
    }
}

fn visit(
    value: &mut Value,
    of: &Type,
    schema: &Schema,
    place: &Place<'_>,
    findings: &mut Findings,
) {
    // null is the absence of a value everywhere.
    if value.is_null() {
        return;
    }
    match of {
        Type::Any => {}
        Type::Struct(name) => {
            let Some(structure) = schema.catalog.get(name) else {
                return;
            };
            let short = short(&structure.name);
            let Value::Object(map) = value else {
                return place.mistyped(value, &go_type(&structure.name), findings);
            };
            map.retain(|key, inner| {
                let path = join(place.path, key);
                match structure.fields.get(key.as_str()) {
                    Some(field) => visit(
                        inner,
                        &field.of,
                        schema,
                        &Place {
                            structure: short,
                            path: &path,
                        },
                        findings,
                    ),
                    None => {
                        if findings.unknown.len() < UNKNOWN_LIMIT {
                            findings.unknown.push(path);
                        }
                        return false;
                    }
                }
                true
            });
        }
        Type::Map(inner) => {
            let Value::Object(map) = value else {
                return place.mistyped(value, &format!("map[string]{}", words(inner)), findings);
            };
            for (key, entry) in map {
                let path = join(place.path, key);
                visit(
                    entry,
                    inner,
                    schema,
                    &Place {
                        structure: place.structure,
                        path: &path,
                    },
                    findings,
                );
            }
        }
        Type::List(inner) => {
            let Value::Array(items) = value else {
                return place.mistyped(value, &format!("[]{}", words(inner)), findings);
            };
            for (index, item) in items.iter_mut().enumerate() {
                let path = format!("{}[{index}]", place.path);
                visit(
                    item,
                    inner,
                    schema,
                    &Place {
                        structure: place.structure,
                        path: &path,
                    },
                    findings,
                );
            }
        }
        Type::String(format) => scalar(value, value.is_string(), format, place, findings),
        Type::Integer(bits) => {
            let fits = match value.as_i64() {
                Some(number) => *bits == 64 || i32::try_from(number).is_ok(),
                None => false,
            };
            if !fits {
                place.mistyped(value, if *bits == 32 { "int32" } else { "int64" }, findings);
            }
        }
        Type::Number => {
            if !value.is_number() {
                place.mistyped(value, "float64", findings);
            }
        }
        Type::Boolean => {
            if !value.is_boolean() {
                place.mistyped(value, "bool", findings);
            }
        }
        Type::IntOrString => {
            if !value.is_string()
                && value
                    .as_i64()
                    .is_none_or(|number| i32::try_from(number).is_err())
            {
                place.mistyped(value, "intstr.IntOrString", findings);
            }
        }
        Type::Quantity => quantity(value, place, findings),
    }
}

fn scalar(value: &Value, right: bool, format: &str, place: &Place<'_>, findings: &mut Findings) {
    if !right {
        let expected = match format {
            "byte" => "[]uint8",
            "date-time" => "time.Time",
            _ => "string",
        };
        return place.mistyped(value, expected, findings);
    }
    if format == "date-time"
        && let Some(text) = value.as_str()
        && text.parse::<jiff::Timestamp>().is_err()
    {
        let message = format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
        );
        findings.mistyped.get_or_insert(message);
    }
}

/// A number is taken for the text it would be, so that `cpu: 1` and `cpu: "1"` are the same object.
fn quantity(value: &mut Value, place: &Place<'_>, findings: &mut Findings) {
    if let Value::Number(number) = value {
        *value = Value::String(number.to_string());
    }
    match value.as_str().map(crate::quantity::Quantity::parse) {
        Some(Ok(quantity)) => *value = Value::String(quantity.to_string()),
        Some(Err(error)) => {
            findings.mistyped.get_or_insert(error.to_string());
        }
        None => place.mistyped(value, "resource.Quantity", findings),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// `Container` of `io.k8s.api.core.v1.Container`.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// `v1.Container` of `io.k8s.api.core.v1.Container`.
fn go_type(name: &str) -> String {
    let mut parts = name.rsplit('.');
    match (parts.next(), parts.next()) {
        (Some(short), Some(version)) => format!("{version}.{short}"),
        _ => name.to_owned(),
    }
}

fn words(of: &Type) -> String {
    match of {
        Type::Struct(name) => go_type(name),
        Type::Map(inner) => format!("map[string]{}", words(inner)),
        Type::List(inner) => format!("[]{}", words(inner)),
        Type::String(_) => "string".to_owned(),
        Type::Integer(bits) => format!("int{bits}"),
        Type::Number => "float64".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::Any => "interface {}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    fn check_deployment(mut value: Value) -> (Findings, Value) {
        let schema = Registry::builtin()
            .by_kind("apps", "v1", "Deployment")
            .unwrap()
            .schema();
        let findings = check(&mut value, &schema);
        (findings, value)
    }

    #[test]
    fn unknown_fields_are_named_by_path_and_dropped() {
        let (findings, value) = check_deployment(json!({
            "spec": {"replcas": 3, "template": {"spec": {"containers": [{"name": "a", "imag": "x"}]}}}, "foo": 1
        }));
        assert_eq!(
            findings.unknown,
            [
                "foo",
                "spec.replcas",
                "spec.template.spec.containers[0].imag"
            ]
        );
        assert_eq!(findings.mistyped, None);
        assert_eq!(
            value["spec"]["template"]["spec"]["containers"][0],
            json!({"name": "a"})
        );
        assert_eq!(
            message(&findings.unknown[..1], &["spec.a".to_owned()]),
            "duplicate field \"spec.a\", unknown field \"foo\""
        );
    }

    #[test]
    fn mistyped_fields_are_told_in_gos_words() {
        for (spec, told) in [
            (
                json!({"replicas": "three"}),
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"template": {"spec": {"containers": {}}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                json!({"template": {"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}}),
                "json: cannot unmarshal string into Go struct field ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
            ),
        ] {
            assert_eq!(
                check_deployment(json!({ "spec": spec }))
                    .0
                    .mistyped
                    .as_deref(),
                Some(told)
            );
        }
    }

    #[test]
    fn quantities_are_read_from_numbers_and_made_canonical() {
        let (findings, value) =
            check_deployment(json!({"spec": {"template": {"spec": {"containers": [
                {"resources": {"limits": {"cpu": 2, "memory": "1024Mi"}}}
            ]}}}}));
        assert_eq!(findings, Findings::default());
        let limits = &value["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
        assert_eq!(*limits, json!({"cpu": "2", "memory": "1Gi"}));
    }
}
