//! Table of Events.

use jiff::Timestamp;
use serde_json::Value;

use super::{column, name, name_column, number, since, text};
use crate::registry::Column;

/// LAST SEEN, TYPE, REASON, OBJECT, MESSAGE; wide: SUBOBJECT, SOURCE, FIRST SEEN, COUNT, NAME.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        column("Last Seen", "string", 0),
        column("Type", "string", 0),
        column("Reason", "string", 0),
        column("Object", "string", 0),
        column("Subobject", "string", 1),
        column("Source", "string", 1),
        column("Message", "string", 0),
        column("First Seen", "string", 1),
        column("Count", "string", 1),
        Column {
            priority: 1,
            ..name_column()
        },
    ]
}

/// Cells of an Event.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let first = first_of(object, &["/firstTimestamp", "/eventTime"]);
    let last = first_of(
        object,
        &[
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/eventTime",
            "/firstTimestamp",
        ],
    );
    let count = match object.pointer("/series/count").and_then(Value::as_i64) {
        Some(count) => count,
        None => number(object, "/count").max(1),
    };
    let kind = text(object, "/involvedObject/kind").to_lowercase();
    let component = first_of(object, &["/source/component", "/reportingComponent"]);
    let host = first_of(object, &["/source/host", "/reportingInstance"]);
    let source = if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };
    vec![
        since(last, now).into(),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        format!("{kind}/{}", text(object, "/involvedObject/name")).into(),
        text(object, "/involvedObject/fieldPath").into(),
        source.into(),
        text(object, "/message").trim().into(),
        since(first, now).into(),
        count.to_string().into(),
        name(object),
    ]
}

/// The first of some texts that is not empty.
fn first_of<'a>(object: &'a Value, pointers: &[&str]) -> &'a str {
    pointers
        .iter()
        .map(|pointer| text(object, pointer))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}
