//! Table of Deployments.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, containers, name, name_column, number, selector};
use crate::registry::Column;

/// NAME, READY, UP-TO-DATE, AVAILABLE, AGE; wide: CONTAINERS, IMAGES, SELECTOR.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Ready", "string", 0),
        column("Up-to-date", "integer", 0),
        column("Available", "integer", 0),
        column("Age", "string", 0),
        column("Containers", "string", 1),
        column("Images", "string", 1),
        column("Selector", "string", 1),
    ]
}

/// Cells of a Deployment.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        format!(
            "{}/{}",
            number(object, "/status/readyReplicas"),
            number(object, "/spec/replicas")
        )
        .into(),
        number(object, "/status/updatedReplicas").into(),
        number(object, "/status/availableReplicas").into(),
        age(object, now),
        containers(object, "/spec/template/spec", "name").into(),
        containers(object, "/spec/template/spec", "image").into(),
        selector(object, "/spec/selector").into(),
    ]
}
