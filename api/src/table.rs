//! The columns and rows of `kubectl get`, per kind, as upstream's printers write them. The server computes them, so every kubectl shows the same.

pub mod autoscaler;
pub mod config_map;
pub mod deployment;
pub mod duration;
pub mod endpoint_slice;
pub mod event;
pub mod job;
pub mod lease;
pub mod metrics;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod replica_set;
pub mod role;
pub mod role_binding;
pub mod secret;
pub mod service;
pub mod service_account;

use jiff::Timestamp;
use serde_json::Value;

use crate::registry::{Column, Text};

/// What a cell shows where there is nothing to show.
pub(crate) const NONE: &str = "<none>";
/// What a cell shows where something cannot be known.
pub(crate) const UNKNOWN: &str = "<unknown>";

/// The columns NAME and AGE, for kinds without a printer.
#[must_use]
pub fn name_age_columns() -> Vec<Column> {
    vec![name_column(), column("Age", "string", 0)]
}

/// The cells for [`name_age_columns`].
#[must_use]
pub fn name_age(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

/// The column that names the object.
pub(crate) fn name_column() -> Column {
    let description = "Name must be unique within a namespace.";
    Column {
        format: Text::Borrowed("name"),
        description: Text::Borrowed(description),
        ..column("Name", "string", 0)
    }
}

/// A column of a type, shown always (0) or with `-o wide` (1).
pub(crate) fn column(name: &'static str, kind: &'static str, priority: i32) -> Column {
    Column {
        name: Text::Borrowed(name),
        kind: Text::Borrowed(kind),
        format: Text::Borrowed(""),
        description: Text::Borrowed(""),
        priority,
    }
}

/// The object's name.
pub(crate) fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

/// How long ago the object was created.
pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    since(text(object, "/metadata/creationTimestamp"), now).into()
}

/// How long ago a time of the API was, or `<unknown>`.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => duration::human(now.duration_since(time)),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// The text at a JSON pointer, or nothing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The number at a JSON pointer, or 0.
pub(crate) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The list at a JSON pointer, or none.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// How many entries the map or list at a JSON pointer has.
pub(crate) fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    }
}

/// `text`, or `<none>` when it is empty.
pub(crate) fn or_none(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

/// The names, or the images, of a pod spec's containers, joined by commas.
pub(crate) fn containers(object: &Value, spec: &str, field: &str) -> String {
    let containers = list(object, &format!("{spec}/containers")).iter();
    containers
        .map(|container| text(container, &format!("/{field}")))
        .collect::<Vec<_>>()
        .join(",")
}

/// A label selector in the form that kubectl takes.
pub(crate) fn selector(object: &Value, pointer: &str) -> String {
    let Some(selector) = object.pointer(pointer) else {
        return NONE.to_owned();
    };
    let mut parts: Vec<String> = Vec::new();
    for (key, value) in selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for expression in list(selector, "/matchExpressions") {
        let key = text(expression, "/key");
        let values = list(expression, "/values")
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",");
        parts.push(match text(expression, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if parts.is_empty() {
        NONE.to_owned()
    } else {
        parts.join(",")
    }
}
