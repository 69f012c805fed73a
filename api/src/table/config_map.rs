//! Table of ConfigMaps.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, count, name, name_column};
use crate::registry::Column;

/// NAME, DATA, AGE.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Data", "string", 0),
        column("Age", "string", 0),
    ]
}

/// Cells of a ConfigMap.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        (count(object, "/data") + count(object, "/binaryData"))
            .to_string()
            .into(),
        age(object, now),
    ]
}
