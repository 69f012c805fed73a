//! What the metadata of every object must fulfil.

use serde_json::Value;

use super::At;
use crate::{
    fields::{FieldError, Problems},
    names,
    registry::{Resource, Scope},
};

/// All annotations of an object together.
const ANNOTATIONS_LIMIT: usize = 256 << 10;

/// Metadata of a new object of a kind.
#[must_use]
pub fn create(object: &Value, resource: &Resource) -> Problems {
    let mut problems = Problems::new();
    let metadata = At::root(object).field("metadata");
    let name = metadata.field("name");
    if name.is_empty() {
        problems.push(FieldError::required(
            &name.path,
            "name or generateName is required",
        ));
    } else {
        name.named(resource.name_problems, &mut problems);
    }
    let namespace = metadata.field("namespace");
    match resource.scope {
        Scope::Namespaced if namespace.is_empty() => {
            problems.push(FieldError::required(&namespace.path, ""))
        }
        Scope::Namespaced => namespace.named(names::dns1123_label, &mut problems),
        Scope::Cluster if !namespace.is_empty() => {
            problems.push(FieldError::forbidden(
                &namespace.path,
                "not allowed on this type",
            ));
        }
        Scope::Cluster => {}
    }
    common(&metadata, &mut problems);
    problems
}

/// Metadata of a changed object.
#[must_use]
pub fn update(new: &Value, old: &Value) -> Problems {
    let mut problems = Problems::new();
    let (new, old) = (
        At::root(new).field("metadata"),
        At::root(old).field("metadata"),
    );
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        super::unchanged(&new.field(field), &old.field(field), &mut problems);
    }
    if old.field("deletionTimestamp").is_set() {
        let added: Vec<&str> = new
            .field("finalizers")
            .items()
            .filter(|one| {
                !old.field("finalizers")
                    .items()
                    .any(|before| before.value == one.value)
            })
            .map(|one| one.text())
            .collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{added:?}"
            );
            problems.push(FieldError::forbidden(&new.field("finalizers").path, detail));
        }
    }
    common(&new, &mut problems);
    problems
}

fn common(metadata: &At<'_>, problems: &mut Problems) {
    labels(&metadata.field("labels"), problems);
    annotations(&metadata.field("annotations"), problems);
    let owners = metadata.field("ownerReferences");
    for owner in owners.items() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.field(field).is_empty() {
                problems.push(FieldError::invalid(
                    &owner.field(field).path,
                    owner.field(field).value.clone(),
                    "must not be empty",
                ));
            }
        }
    }
    let controllers = owners
        .items()
        .filter(|owner| owner.field("controller").flag())
        .count();
    if controllers > 1 {
        let detail = "Only one reference can have Controller set to true";
        problems.push(FieldError::invalid(
            &owners.path,
            owners.value.clone(),
            detail,
        ));
    }
    for finalizer in metadata.field("finalizers").items() {
        finalizer.named(names::qualified_name, problems);
    }
}

/// Labels: keys and values of the right form.
pub(crate) fn labels(at: &At<'_>, problems: &mut Problems) {
    for (key, entry) in at.entries() {
        for detail in names::qualified_name(key) {
            problems.push(FieldError::invalid(&at.path, key, detail));
        }
        for detail in names::label_value(entry.text()) {
            problems.push(FieldError::invalid(&at.path, entry.value.clone(), detail));
        }
    }
}

fn annotations(at: &At<'_>, problems: &mut Problems) {
    let mut size = 0;
    for (key, entry) in at.entries() {
        // Annotations, unlike labels, may have capitals in their prefix.
        for detail in names::qualified_name(&key.to_lowercase()) {
            problems.push(FieldError::invalid(&at.path, key, detail));
        }
        size += key.len() + entry.text().len();
    }
    if size > ANNOTATIONS_LIMIT {
        problems.push(FieldError::too_long(&at.path, ANNOTATIONS_LIMIT));
    }
}
