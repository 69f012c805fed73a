//! The entries of `metadata.managedFields`: which manager, by which operation, manages which fields.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use super::Set;

/// How a manager came to manage its fields. In the order in which entries are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// It applied a configuration.
    Apply,
    /// It wrote them any other way.
    Update,
}

/// What tells entries apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// The name of the field manager.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// The version it writes in. Those that apply have one entry, whatever the version.
    pub api_version: Option<String>,
    /// The subresource it writes through.
    pub subresource: Option<String>,
}

/// As conflicts name it.
impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        if let Some(subresource) = &self.subresource {
            write!(f, " with subresource {subresource:?}")?;
        }
        if let (Operation::Update, Some(version)) = (self.operation, &self.api_version) {
            write!(f, " using {version}")?;
        }
        Ok(())
    }
}

/// What a manager manages.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub(super) set: Set,
    /// The version the fields are named in.
    pub(super) api_version: String,
    /// When it last changed.
    pub(super) time: Option<String>,
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries(pub(super) BTreeMap<Manager, Entry>);

/// So many managers that update are told apart; of more, those that wrote longest ago become one. As upstream.
const UPDATERS_LIMIT: usize = 10;
/// The name of that one.
const ANCIENT: &str = "ancient-changes";

impl Entries {
    /// Reads `managedFields`. `None` when it is not what it should be.
    #[must_use]
    pub fn parse(fields: &Value) -> Option<Self> {
        let mut entries = BTreeMap::new();
        for entry in fields.as_array()? {
            let text = |name: &str| {
                entry
                    .get(name)
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
            };
            let operation = match text("operation")? {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            if text("fieldsType").is_some_and(|kind| kind != "FieldsV1") {
                return None;
            }
            let set = match entry.get("fieldsV1").filter(|fields| !fields.is_null()) {
                Some(fields) => Set::parse(fields)?,
                None => Set::default(),
            };
            let api_version = text("apiVersion")?.to_owned();
            let manager = Manager {
                name: text("manager").unwrap_or_default().to_owned(),
                operation,
                api_version: (operation == Operation::Update).then(|| api_version.clone()),
                subresource: text("subresource").map(str::to_owned),
            };
            let time = text("time").map(str::to_owned);
            entries.insert(
                manager,
                Entry {
                    set,
                    api_version,
                    time,
                },
            );
        }
        Some(Self(entries))
    }

    /// Writes `managedFields`, in upstream's order.
    #[must_use]
    pub fn encode(&self) -> Value {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by_key(|(manager, entry)| {
            (
                manager.operation,
                entry.time.clone(),
                manager.name.clone(),
                entry.api_version.clone(),
                manager.subresource.clone(),
            )
        });
        let encoded = entries.into_iter().map(|(manager, entry)| {
            let operation = match manager.operation {
                Operation::Apply => "Apply",
                Operation::Update => "Update",
            };
            let mut encoded = json!({
                "manager": manager.name, "operation": operation, "apiVersion": entry.api_version,
                "fieldsType": "FieldsV1", "fieldsV1": entry.set.encode(),
            });
            for (name, value) in [("time", &entry.time), ("subresource", &manager.subresource)] {
                if let (Some(value), Some(encoded)) = (value, encoded.as_object_mut()) {
                    encoded.insert(name.to_owned(), json!(value));
                }
            }
            encoded
        });
        encoded.collect()
    }

    /// Makes one entry of those that updated longest ago, where there are too many.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<Manager> = self
            .0
            .keys()
            .filter(|manager| manager.operation == Operation::Update)
            .cloned()
            .collect();
        let mut over = updaters.len().saturating_sub(UPDATERS_LIMIT);
        if over == 0 {
            return;
        }
        updaters.sort_by_key(|manager| {
            let time = self.0.get(manager).and_then(|entry| entry.time.clone());
            (time, manager.clone())
        });
        // A bucket for each version; the first of a version waits for a second.
        let mut first: BTreeMap<String, Manager> = BTreeMap::new();
        for manager in updaters {
            if over == 0 {
                return;
            }
            let version = manager.api_version.clone().unwrap_or_default();
            let Some(before) = first.get(&version).cloned() else {
                first.insert(version, manager);
                continue;
            };
            let bucket = Manager {
                name: ANCIENT.to_owned(),
                operation: Operation::Update,
                api_version: Some(version),
                subresource: None,
            };
            if !self.0.contains_key(&bucket)
                && let Some(entry) = self.0.remove(&before)
            {
                self.0.insert(bucket.clone(), entry);
            }
            if manager == bucket {
                continue;
            }
            if let (Some(entry), Some(bucket)) = (self.0.remove(&manager), self.0.get_mut(&bucket))
            {
                bucket.set = std::mem::take(&mut bucket.set).union(&entry.set);
                bucket.time = entry.time;
                over -= 1;
            }
        }
    }
}
