//! Label selectors, as the network needs them. Pure.

use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Chooses objects by labels: those that meet every requirement. Without any it chooses all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(pub Vec<Requirement>);

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// It has one of the values.
    In(String, Vec<String>),
    /// It has none of the values; not being there is fine.
    NotIn(String, Vec<String>),
    /// It is there.
    Exists(String),
    /// It is not.
    DoesNotExist(String),
}

impl Selector {
    /// Whether an object with these labels is chosen.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value))
            }
            Requirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }

    /// Chooses objects with one label.
    #[must_use]
    pub fn label(key: &str, value: &str) -> Self {
        Self(vec![Requirement::In(
            key.to_owned(),
            vec![value.to_owned()],
        )])
    }
}
