//! Roles and bindings.

use serde_json::Value;

use super::At;
use crate::fields::{FieldError, Problems};

fn rules(object: &Value, cluster: bool) -> Problems {
    let mut problems = Problems::new();
    for rule in At::root(object).field("rules").items() {
        if rule.field("verbs").is_empty() {
            problems.push(FieldError::required(
                &rule.field("verbs").path,
                "verbs must contain at least one value",
            ));
        }
        let urls = rule.field("nonResourceURLs");
        if !urls.is_empty() {
            if !cluster {
                problems.push(FieldError::invalid(
                    &urls.path,
                    urls.value.clone(),
                    "namespaced rules cannot apply to non-resource URLs",
                ));
            }
            if !rule.field("resources").is_empty() || !rule.field("apiGroups").is_empty() {
                problems.push(FieldError::invalid(
                    &urls.path,
                    urls.value.clone(),
                    "rules cannot apply to both regular resources and non-resource URLs",
                ));
            }
            continue;
        }
        for (field, detail) in [
            (
                "apiGroups",
                "resource rules must supply at least one api group",
            ),
            (
                "resources",
                "resource rules must supply at least one resource",
            ),
        ] {
            if rule.field(field).is_empty() {
                problems.push(FieldError::required(&rule.field(field).path, detail));
            }
        }
    }
    problems
}

/// A Role.
#[must_use]
pub fn role(object: &Value) -> Problems {
    rules(object, false)
}

/// A ClusterRole.
#[must_use]
pub fn cluster_role(object: &Value) -> Problems {
    rules(object, true)
}

fn binding(object: &Value, roles: &[&str]) -> Problems {
    let mut problems = Problems::new();
    let root = At::root(object);
    let role = root.field("roleRef");
    role.field("apiGroup")
        .one_of(&["rbac.authorization.k8s.io"], &mut problems);
    role.field("kind").one_of(roles, &mut problems);
    role.field("name").require(&mut problems);
    for subject in root.field("subjects").items() {
        subject.field("name").require(&mut problems);
        match subject.field("kind").text() {
            "ServiceAccount" => {
                subject.field("namespace").require(&mut problems);
            }
            "User" | "Group" => subject
                .field("apiGroup")
                .one_of(&["rbac.authorization.k8s.io"], &mut problems),
            _ => subject
                .field("kind")
                .one_of(&["ServiceAccount", "User", "Group"], &mut problems),
        }
    }
    problems
}

/// A RoleBinding.
#[must_use]
pub fn role_binding(object: &Value) -> Problems {
    binding(object, &["ClusterRole", "Role"])
}

/// A ClusterRoleBinding.
#[must_use]
pub fn cluster_role_binding(object: &Value) -> Problems {
    binding(object, &["ClusterRole"])
}

/// A changed binding: what it binds to stays.
#[must_use]
pub fn role_binding_update(new: &Value, old: &Value) -> Problems {
    let mut problems = Problems::new();
    let (new, old) = (
        At::root(new).field("roleRef"),
        At::root(old).field("roleRef"),
    );
    if new.value != old.value {
        problems.push(FieldError::invalid(
            &new.path,
            new.value.clone(),
            "cannot change roleRef",
        ));
    }
    problems
}
