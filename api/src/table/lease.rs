//! Table of Leases.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, name, name_column, text};
use crate::registry::Column;

/// NAME, HOLDER, AGE.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Holder", "string", 0),
        column("Age", "string", 0),
    ]
}

/// Cells of a Lease.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/spec/holderIdentity").into(),
        age(object, now),
    ]
}
