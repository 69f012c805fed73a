//! Table of ServiceAccounts.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, count, name, name_column};
use crate::registry::Column;

/// NAME, SECRETS, AGE.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Secrets", "string", 0),
        column("Age", "string", 0),
    ]
}

/// Cells of a ServiceAccount.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        count(object, "/secrets").to_string().into(),
        age(object, now),
    ]
}
