//! Nobody grants what they do not have: what must hold before a role or binding is written (upstream's privilege escalation prevention). Decides on
//! the objects as they are and shall be; the rules and the authorizer's answers are given.

use serde::Deserialize;
use serde_json::Value;

use super::{
    cover::{compact, uncovered},
    policy::{Binding, GROUP, Kind, Policy, RoleRef, missing},
    rule::{Rule, or_default},
};
use crate::auth::user::{MASTERS, UserInfo};

/// How many missing rules a refusal lists. A user needs to see what is missing, not a megabyte of it.
const LISTED: usize = 20;

/// A role or binding that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// Who writes it.
    pub user: &'a UserInfo,
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub namespace: Option<&'a str>,
    /// What it shall be.
    pub new: &'a Value,
    /// What it was; `None` when it is new.
    pub old: Option<&'a Value>,
}

/// A right that makes up for not having what is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// `escalate` to write any rules into a role, `bind` to bind it.
    pub verb: &'static str,
    /// `roles` or `clusterroles`.
    pub resource: &'static str,
    /// The role's name.
    pub name: String,
}

/// What of a role matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Role {
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    rules: Vec<Rule>,
    aggregation_rule: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "or_default")]
    name: String,
}

/// Whether `grant` may be written, for a user to whom RBAC otherwise allows it. `may` answers whether the user has an [`Override`].
///
/// # Errors
/// Why not, to stand after `… is forbidden: `.
pub fn check(
    policy: &Policy,
    grant: &Grant<'_>,
    may: impl Fn(&Override) -> bool,
) -> Result<(), String> {
    if grant.user.is_in(MASTERS) || grant.old.is_some_and(|old| same_grant(old, grant.new)) {
        return Ok(());
    }
    let unreadable = |error: serde_json::Error| format!("the object cannot be read: {error}");
    let (wanted, way_out) = match grant.kind {
        Kind::Role | Kind::ClusterRole => {
            let role = Role::deserialize(grant.new).map_err(unreadable)?;
            let resource = if grant.kind == Kind::Role {
                "roles"
            } else {
                "clusterroles"
            };
            let way_out = Override {
                verb: "escalate",
                resource,
                name: role.metadata.name,
            };
            // What an aggregated role will hold is decided by others' labels: only who has everything may let it.
            let aggregated = role.aggregation_rule.is_some_and(|rule| !rule.is_null());
            let wanted = if aggregated {
                Rule::everything().to_vec()
            } else {
                role.rules
            };
            (wanted, way_out)
        }
        Kind::RoleBinding | Kind::ClusterRoleBinding => {
            let binding = Binding::deserialize(grant.new).map_err(unreadable)?;
            let way_out = Override {
                verb: "bind",
                resource: if binding.role_ref.kind == "Role" {
                    "roles"
                } else {
                    "clusterroles"
                },
                name: binding.role_ref.name.clone(),
            };
            (
                bound(policy, grant, &binding.role_ref, &way_out, &may)?,
                way_out,
            )
        }
    };
    let held = policy.rules_of(grant.user, grant.namespace);
    let missing = uncovered(&held, &wanted);
    if missing.is_empty() || may(&way_out) {
        return Ok(());
    }
    Err(told(grant.user, &missing))
}

/// The rules a binding hands out.
fn bound(
    policy: &Policy,
    grant: &Grant<'_>,
    role: &RoleRef,
    way_out: &Override,
    may: impl Fn(&Override) -> bool,
) -> Result<Vec<Rule>, String> {
    match policy.rules(role, grant.namespace) {
        Some(rules) => Ok(rules.to_vec()),
        None if may(way_out) => Ok(Vec::new()),
        None => Err(missing(role)),
    }
}

/// Whether only what grants nothing differs: then the change is nobody's gain (the garbage collector must be able to take finalizers off).
fn same_grant(old: &Value, new: &Value) -> bool {
    ["rules", "aggregationRule", "subjects", "roleRef"]
        .iter()
        .all(|field| old.get(field) == new.get(field))
}

fn told(user: &UserInfo, missing: &[Rule]) -> String {
    let groups: Vec<String> = user
        .groups
        .iter()
        .map(|group| format!("{group:?}"))
        .collect();
    let mut lines: Vec<String> = missing.iter().take(LISTED).map(compact).collect();
    if missing.len() > LISTED {
        lines.push(format!("and {} more", missing.len() - LISTED));
    }
    format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lines.join("\n")
    )
}

/// The kind of a resource, if it is one that grants.
#[must_use]
pub fn granting(group: &str, plural: &str) -> Option<Kind> {
    if group == GROUP {
        Kind::of(plural)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
