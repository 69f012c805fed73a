//! Table of Secrets.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, count, name, name_column, text};
use crate::registry::Column;

/// NAME, TYPE, DATA, AGE.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Type", "string", 0),
        column("Data", "string", 0),
        column("Age", "string", 0),
    ]
}

/// Cells of a Secret.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/type").into(),
        count(object, "/data").to_string().into(),
        age(object, now),
    ]
}
