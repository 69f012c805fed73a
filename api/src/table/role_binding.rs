//! Table of RoleBindings and ClusterRoleBindings.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, list, name, name_column, text};
use crate::registry::Column;

/// NAME, ROLE, AGE; wide: USERS, GROUPS, SERVICEACCOUNTS.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Role", "string", 0),
        column("Age", "string", 0),
        column("Users", "string", 1),
        column("Groups", "string", 1),
        column("ServiceAccounts", "string", 1),
    ]
}

/// Cells of a RoleBinding or ClusterRoleBinding.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| {
        let of_kind = list(object, "/subjects")
            .iter()
            .filter(|subject| text(subject, "/kind") == kind);
        let names = of_kind.map(|subject| match kind {
            "ServiceAccount" => {
                format!("{}/{}", text(subject, "/namespace"), text(subject, "/name"))
            }
            _ => text(subject, "/name").to_owned(),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    vec![
        name(object),
        format!(
            "{}/{}",
            text(object, "/roleRef/kind"),
            text(object, "/roleRef/name")
        )
        .into(),
        age(object, now),
        subjects("User").into(),
        subjects("Group").into(),
        subjects("ServiceAccount").into(),
    ]
}
