//! Server-side apply: a configuration, merged into the live object, minus what the same manager applied before and does not any more. Fields that others manage
//! with another value are conflicts, unless they are forced.

use serde_json::{Value, json};

use super::{
    Element, Entries, Manager, Operation, Set, Writer, bare, compare::Comparison, entries::Entry,
    field_of, fields, merge::merge, put, remove::remove, update, without_identity,
};

/// The manager whose client-side applied fields are taken over.
const KUBECTL: &str = "kubectl";
/// Where client-side apply keeps what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Who manages what was there before anybody applied.
const BEFORE_FIRST: &str = "before-first-apply";

/// Why a configuration was not applied.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// It is not one of this kind.
    Untyped(String),
    /// Others manage these fields.
    Conflicts(Vec<Conflict>),
}

/// A field that another manages.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Who, as messages name it.
    pub manager: String,
    /// The field, `.spec.replicas`.
    pub field: String,
    path: Vec<Element>,
}

/// Makes of the live object (`None`: it is to be created) what applying `config` makes of it, `managedFields` included.
///
/// # Errors
/// [`Refused`].
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    by: &Writer<'_>,
    force: bool,
) -> Result<Value, Refused> {
    let mut made = match merged(live, config, by, force) {
        // What client-side apply put there may be taken over by the same tool.
        Err(Refused::Conflicts(conflicts)) if by.manager == KUBECTL => {
            let allowed = live.map(|live| last_applied(live, by)).unwrap_or_default();
            let left: Vec<_> = conflicts
                .into_iter()
                .filter(|conflict| {
                    let mut one = Set::default();
                    one.insert(&conflict.path);
                    one.intersection(&allowed).is_empty()
                })
                .collect();
            if !left.is_empty() {
                return Err(Refused::Conflicts(left));
            }
            merged(live, config, by, true)?
        }
        made => made?,
    };
    if by.manager == KUBECTL
        && let Some(annotations) = made
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
        && annotations.contains_key(LAST_APPLIED)
    {
        annotations.insert(LAST_APPLIED.to_owned(), as_last_applied(config).into());
    }
    Ok(made)
}

fn merged(
    live: Option<&Value>,
    config: &Value,
    by: &Writer<'_>,
    force: bool,
) -> Result<Value, Refused> {
    let mut entries = live
        .and_then(field_of)
        .and_then(Entries::parse)
        .unwrap_or_default();
    if let (Some(live), true) = (live, entries.0.is_empty()) {
        let before = Writer {
            manager: BEFORE_FIRST,
            subresource: None,
            ..*by
        };
        entries = update::changed(entries, &json!({}), &bare(live), &before);
    }
    let live = live.map_or_else(|| json!({}), bare);
    let set = without_identity(fields::of(config, by.schema).map_err(Refused::Untyped)?);
    let set = match by.subresource {
        Some("status") => set.only("status"),
        Some(_) => set,
        None if owns_status(by) => set.without("status"),
        None => set,
    };
    let manager = Manager {
        name: update::named(by.manager),
        operation: Operation::Apply,
        api_version: None,
        subresource: by.subresource.map(str::to_owned),
    };
    let before = entries.0.remove(&manager);
    let config = &writable(config, by);
    let mut object = merge(&live, config, by.schema);
    if let Some(last) = before.as_ref().map(|entry| &entry.set) {
        object = pruned(&object, &set, last, &entries, by);
    }
    let comparison = Comparison::of(&live, &object, by.schema);
    let changed = comparison.modified.union(&comparison.added);
    let conflicts = conflicts(&entries, &changed);
    if !force && !conflicts.is_empty() {
        return Err(Refused::Conflicts(conflicts));
    }
    let lost = changed.union(&comparison.removed);
    entries.0.retain(|_, entry| {
        entry.set = entry.set.difference(&lost);
        !entry.set.is_empty()
    });
    if !set.is_empty() {
        // Applied again and nothing changed: nothing is new.
        let same = lost.is_empty()
            && before
                .as_ref()
                .is_some_and(|entry| entry.set == set && entry.api_version == by.api_version);
        let time = match before {
            Some(entry) if same => entry.time,
            _ => Some(by.time.to_owned()),
        };
        let entry = Entry {
            set,
            api_version: by.api_version.to_owned(),
            time,
        };
        entries.0.insert(manager, entry);
    }
    put(&mut object, &entries);
    Ok(object)
}

/// The part of a configuration that can be written through the subresource, with what says which object it is.
fn writable(config: &Value, by: &Writer<'_>) -> Value {
    let mut config = config.clone();
    let Some(map) = config.as_object_mut() else {
        return config;
    };
    match by.subresource {
        Some("status") => {
            map.retain(|key, _| ["apiVersion", "kind", "metadata", "status"].contains(&&**key));
            if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                let identity = ["name", "namespace", "uid", "resourceVersion"];
                metadata.retain(|key, _| identity.contains(&&**key));
            }
        }
        None if owns_status(by) => {
            map.remove("status");
        }
        _ => {}
    }
    config
}

/// Whether a write to the object itself leaves its status alone.
fn owns_status(by: &Writer<'_>) -> bool {
    by.schema.field(&by.schema.root, "status").is_some()
}

/// What others manage of `changed`, and what they manage it as.
fn conflicts(entries: &Entries, changed: &Set) -> Vec<Conflict> {
    let mut found = Vec::new();
    for (manager, entry) in &entries.0 {
        let at = match (&manager.operation, &entry.time) {
            (Operation::Update, Some(time)) => format!(" at {time}"),
            _ => String::new(),
        };
        for path in entry.set.intersection(changed).paths() {
            found.push(Conflict {
                manager: format!("{manager}{at}"),
                field: fields::shown(&path),
                path,
            });
        }
    }
    found
}

/// `merged` without what the manager applied before (`last`) and now does not (`set`), as far as nobody else manages it.
fn pruned(merged: &Value, set: &Set, last: &Set, others: &Entries, by: &Writer<'_>) -> Value {
    let root = super::Place::root(by.schema);
    let named = |set: &Set| set.with_named_fields(root);
    let all_of = |object: &Value| fields::of(object, by.schema).map(|set| named(&set));
    // A live object that cannot be taken apart (two elements of one key) is left as it is.
    let Ok(of_merged) = all_of(merged) else {
        return merged.clone();
    };
    let last = named(last);
    let removed = remove(merged, &last, by.schema);
    let Ok(kept) = all_of(&removed) else {
        return merged.clone();
    };
    let mut managed = set.clone();
    for entry in others.0.values() {
        managed = managed.union(&entry.set);
    }
    // What is managed comes back, and what is below a removed element without having been the manager's.
    let lost = of_merged.difference(&kept.union(&named(&managed)));
    remove(merged, &lost.intersection(&last), by.schema)
}

/// The fields that client-side apply last set and that still are as it set them.
fn last_applied(live: &Value, by: &Writer<'_>) -> Set {
    let found = || {
        let text = live
            .pointer("/metadata/annotations")?
            .get(LAST_APPLIED)?
            .as_str()?;
        let last: Value = serde_json::from_str(text).ok()?;
        let set = fields::of(&last, by.schema).ok()?;
        let comparison = Comparison::of(&last, &bare(live), by.schema);
        Some(
            set.difference(&comparison.modified)
                .difference(&comparison.added)
                .difference(&comparison.removed),
        )
    };
    found().unwrap_or_default()
}

/// A configuration as client-side apply keeps it.
fn as_last_applied(config: &Value) -> String {
    let mut config = bare(config);
    if let Some(annotations) = config
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    format!("{config}\n")
}
