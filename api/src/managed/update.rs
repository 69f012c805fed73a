//! What any write but an applied configuration does to `managedFields`: who changes a field manages it from then on, and nobody else does.

use serde_json::{Value, json};

use super::{
    Entries, Manager, Operation, Set, Writer, compare::Comparison, entries::Entry, field_of, put,
    without_identity,
};

/// Brings the entries of `new` up to what was changed from `old` (`None`: it is new). What the client sent as entries counts where it may: a list of one empty
/// entry takes all of them away, others replace what was there.
pub fn update(old: Option<&Value>, new: &mut Value, by: &Writer<'_>) {
    let sent = field_of(new).cloned();
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let live = old
        .and_then(field_of)
        .and_then(Entries::parse)
        .unwrap_or_default();
    let entries = match sent {
        Some(sent) if by.subresource.is_none() && is_reset(&sent) => Entries::default(),
        Some(sent) if by.subresource.is_none() => match Entries::parse(&sent) {
            Some(entries) if !entries.0.is_empty() => entries,
            _ => live,
        },
        _ => live,
    };
    // Who does not track at all is asked by nobody: an object without entries gets them when it is first applied.
    if old.is_some() && entries.0.is_empty() {
        return;
    }
    let empty = json!({});
    // That the old one still has entries does not matter: nobody manages them.
    let entries = changed(entries, old.unwrap_or(&empty), new, by);
    put(new, &entries);
}

fn is_reset(sent: &Value) -> bool {
    let entries = sent.as_array().map_or(&[][..], Vec::as_slice);
    matches!(entries, [Value::Object(entry)] if entry.values().all(Value::is_null))
}

/// The entries once `by` has made `new`, which has none, of `old`.
pub(super) fn changed(mut entries: Entries, old: &Value, new: &Value, by: &Writer<'_>) -> Entries {
    let comparison = Comparison::of(old, new, by.schema);
    let taken = comparison.modified.union(&comparison.added);
    let lost = taken.clone().union(&comparison.removed);
    let taken = without_identity(taken);
    entries.0.retain(|_, entry| {
        entry.set = entry.set.difference(&lost);
        !entry.set.is_empty()
    });
    if !taken.is_empty() {
        let manager = updater(by);
        let before = entries.0.remove(&manager);
        let set = before.map_or_else(Set::default, |entry| entry.set);
        let entry = Entry {
            set: set.union(&taken),
            api_version: by.api_version.to_owned(),
            time: Some(by.time.to_owned()),
        };
        entries.0.insert(manager, entry);
    }
    entries.cap();
    entries
}

fn updater(by: &Writer<'_>) -> Manager {
    Manager {
        name: named(by.manager),
        operation: Operation::Update,
        api_version: Some(by.api_version.to_owned()),
        subresource: by.subresource.map(str::to_owned),
    }
}

/// The name of a manager; there is always one.
pub(super) fn named(manager: &str) -> String {
    match manager {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}
