//! The ClusterRoles and bindings every cluster begins with, under Kubernetes' names, and how they are brought up to date at each start. [`roles`] is the
//! data, this file makes objects of it and puts them into the store before there is an API to go through.

pub mod roles;

use std::collections::BTreeMap;

use coracle_store::{List, Op, Revision, Storage, StoreError};
use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::{cover::uncovered, policy::GROUP, rule::Rule};

/// Objects are brought up to date at every start unless an administrator sets this annotation to `false` to keep their own version.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// How often a start that loses against another server's start tries again.
const ATTEMPTS: usize = 5;

/// What every cluster has, by store key.
#[must_use]
pub fn objects() -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    for role in roles::roles() {
        let object = json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "ClusterRole",
            "metadata": metadata(role.name),
            "rules": rules_value(&role.rules),
        });
        objects.insert(key("clusterroles", role.name), object);
    }
    for binding in roles::bindings() {
        let subjects: Vec<Value> = binding
            .subjects
            .iter()
            .map(|(kind, name)| json!({"apiGroup": GROUP, "kind": kind, "name": name}))
            .collect();
        let object = json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": metadata(binding.name),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": binding.role},
            "subjects": subjects,
        });
        objects.insert(key("clusterrolebindings", binding.name), object);
    }
    objects
}

fn key(plural: &str, name: &str) -> String {
    format!("/registry/{GROUP}/{plural}/{name}")
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "annotations": {AUTO_UPDATE: "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    })
}

fn rules_value(rules: &[Rule]) -> Value {
    // Rules are lists of strings, which always are JSON.
    serde_json::to_value(rules).unwrap_or_default()
}

/// What becomes of a stored object when `wanted` is what should be there: its next version, or `None` where it is left alone. Adds what is missing
/// and takes nothing away, as upstream; a binding to another role is replaced.
#[must_use]
pub fn reconcile(stored: &Value, wanted: &Value) -> Option<Value> {
    let annotation = stored
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(AUTO_UPDATE));
    if annotation.and_then(Value::as_str) == Some("false") {
        return None;
    }
    let mut next = stored.clone();
    let fields = next.as_object_mut()?;
    if wanted.get("roleRef").is_some() && stored.get("roleRef") != wanted.get("roleRef") {
        fields.insert("roleRef".to_owned(), wanted.get("roleRef")?.clone());
        fields.insert("subjects".to_owned(), wanted.get("subjects")?.clone());
        return Some(next);
    }
    add_missing_rules(fields, wanted);
    add_missing_subjects(fields, wanted);
    let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut)?;
    let wanted_labels = wanted
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    for (label, value) in wanted_labels.into_iter().flatten() {
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(label.clone(), value.clone());
        }
    }
    (next != *stored).then_some(next)
}

fn add_missing_rules(fields: &mut Map<String, Value>, wanted: &Value) {
    let read = |value: Option<&Value>| -> Vec<Rule> {
        value
            .and_then(|rules| Vec::deserialize(rules).ok())
            .unwrap_or_default()
    };
    let Some(wanted) = wanted.get("rules") else {
        return;
    };
    let mut rules = read(fields.get("rules"));
    let missing = uncovered(&rules, &read(Some(wanted)));
    if !missing.is_empty() {
        rules.extend(missing);
        fields.insert("rules".to_owned(), rules_value(&rules));
    }
}

fn add_missing_subjects(fields: &mut Map<String, Value>, wanted: &Value) {
    let Some(wanted) = wanted.get("subjects").and_then(Value::as_array) else {
        return;
    };
    let subjects = fields.entry("subjects").or_insert_with(|| json!([]));
    if subjects.is_null() {
        *subjects = json!([]);
    }
    let Some(subjects) = subjects.as_array_mut() else {
        return;
    };
    let identity =
        |subject: &Value| ["kind", "name", "namespace"].map(|field| subject.get(field).cloned());
    for subject in wanted {
        if !subjects
            .iter()
            .any(|there| identity(there) == identity(subject))
        {
            subjects.push(subject.clone());
        }
    }
}

/// Makes what is missing in the store and brings the rest up to date, in one transaction. Says how many objects were written.
///
/// `uid` makes unique identifiers.
///
/// # Errors
/// What the store says; `Conflict` only when other servers kept winning.
pub async fn ensure(
    store: &dyn Storage,
    now: Timestamp,
    mut uid: impl FnMut() -> String,
) -> Result<usize, StoreError> {
    let wanted = objects();
    for attempt in 1..=ATTEMPTS {
        let prefix = format!("/registry/{GROUP}/");
        let list = List {
            prefix,
            ..List::default()
        };
        let mut stored: BTreeMap<String, (Revision, Value)> = BTreeMap::new();
        for record in store.list(list).await?.records {
            if let (true, Ok(value)) = (
                wanted.contains_key(&*record.key),
                serde_json::from_slice(&record.value),
            ) {
                stored.insert(record.key.to_string(), (record.modified, value));
            }
        }
        let ops: Vec<Op> = wanted
            .iter()
            .filter_map(|(key, wanted)| match stored.get(key) {
                None => {
                    let value = new_object(wanted, now, uid());
                    Some(encode(&value).map(|value| Op::create(key.clone(), value)))
                }
                Some((seen, stored)) => {
                    let next = reconcile(stored, wanted)?;
                    Some(encode(&next).map(|next| Op::update(key.clone(), *seen, next)))
                }
            })
            .collect::<Result<_, _>>()?;
        if ops.is_empty() {
            return Ok(0);
        }
        let written = ops.len();
        match store.commit(ops).await {
            Ok(_) => return Ok(written),
            Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    Ok(0)
}

/// The object in the form in which the API server stores it.
fn encode(object: &Value) -> Result<bytes::Bytes, StoreError> {
    crate::encoded::encode(object).map_err(|error| StoreError::Invalid {
        reason: error.message,
    })
}

/// The object as the API server would have created it.
fn new_object(wanted: &Value, now: Timestamp, uid: String) -> Value {
    let mut object = wanted.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), json!(uid));
        let seconds = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        metadata.insert("creationTimestamp".to_owned(), json!(seconds));
    }
    object
}

#[cfg(test)]
mod tests;
