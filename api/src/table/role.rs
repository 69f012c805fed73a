//! Table of Roles and ClusterRoles.

use jiff::Timestamp;
use serde_json::Value;

use super::{column, name, name_column, text};
use crate::registry::Column;

/// NAME, CREATED AT.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![name_column(), column("Created At", "date", 0)]
}

/// Cells of a Role or ClusterRole.
#[must_use]
pub fn row(object: &Value, _now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/metadata/creationTimestamp").into(),
    ]
}
