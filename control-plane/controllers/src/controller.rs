//! What a controller is to the driver: a name, what it watches, and a planner. And the list of all of them.

use coracle_api::names::ObjectKey;
use jiff::Timestamp;

use crate::{
    action::Plan,
    caches::{Caches, Change},
    kind::Kind,
    memory::Memory,
};

/// A controller. Pure: `plan` may be called at any time, for any key, any number of times.
pub trait Controller: Send + Sync + 'static {
    /// Its name, as metrics, logs and events show it.
    fn name(&self) -> &'static str;

    /// What it watches.
    fn watches(&self) -> Vec<Watch>;

    /// Decides what to do about a key. `None` when there is nothing of that name.
    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan>;
}

/// Changes that make a controller plan.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Of which kind; `None` for every kind there is.
    pub kind: Option<Kind>,
    /// The keys to plan for.
    pub keys: fn(&Change<'_>) -> Vec<ObjectKey>,
}

/// What a planner is shown.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The cluster.
    pub caches: &'a Caches,
    /// The time.
    pub now: Timestamp,
    /// What the last plan for this key asked to remember.
    pub memory: &'a Memory,
    /// What went wrong when the last plan for this key was executed.
    pub failure: Option<&'a Failure>,
}

/// An action that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was tried.
    pub verb: Verb,
    /// The kind it was tried on.
    pub kind: Kind,
    /// What the API server said.
    pub message: String,
}

/// What an action tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To create.
    Create,
    /// To delete.
    Delete,
    /// To change.
    Patch,
}

impl Watch {
    /// Changes of a kind.
    #[must_use]
    pub fn of(kind: Kind, keys: fn(&Change<'_>) -> Vec<ObjectKey>) -> Self {
        Self {
            kind: Some(kind),
            keys,
        }
    }

    /// Changes of every kind.
    #[must_use]
    pub fn every(keys: fn(&Change<'_>) -> Vec<ObjectKey>) -> Self {
        Self { kind: None, keys }
    }

    /// Whether changes of `kind` are meant.
    #[must_use]
    pub fn covers(&self, kind: &Kind) -> bool {
        self.kind.as_ref().is_none_or(|own| own == kind)
    }
}
