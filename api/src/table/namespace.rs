//! Table of Namespaces.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, name, name_column, text};
use crate::registry::Column;

/// NAME, STATUS, AGE.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Status", "string", 0),
        column("Age", "string", 0),
    ]
}

/// Cells of a Namespace.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/status/phase").into(),
        age(object, now),
    ]
}
