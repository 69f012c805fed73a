//! Table of ReplicaSets.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, containers, name, name_column, number, selector};
use crate::registry::Column;

/// NAME, DESIRED, CURRENT, READY, AGE; wide: CONTAINERS, IMAGES, SELECTOR.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Desired", "integer", 0),
        column("Current", "integer", 0),
        column("Ready", "integer", 0),
        column("Age", "string", 0),
        column("Containers", "string", 1),
        column("Images", "string", 1),
        column("Selector", "string", 1),
    ]
}

/// Cells of a ReplicaSet.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        number(object, "/status/readyReplicas").into(),
        age(object, now),
        containers(object, "/spec/template/spec", "name").into(),
        containers(object, "/spec/template/spec", "image").into(),
        selector(object, "/spec/selector").into(),
    ]
}
