//! What controllers decide, as data: a [`Plan`]. Nothing here does anything; the driver of the control plane executes plans.
//!
//! Every action names what must still be true of its object (uid, resourceVersion), so that a plan that is executed late or twice does nothing.

use coracle_api::names::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use crate::{
    kind::{Kind, Text},
    memory::Memory,
};

/// What one reconcile creates and deletes at most; the rest follows in the next one, which sees what the first did. Upstream's number: at half, large
/// sets fill in noticeable steps; at double, one set keeps all others of a controller waiting.
pub const BURST: usize = 500;

/// What would bring the world closer to what one object wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to do, in this order. The first part of it, however much, must be safe without the rest.
    pub actions: Vec<Step>,
    /// The new status, computed from what was observed and not from what is hoped for. Written after the actions, whether or not they succeed.
    pub status: Option<StatusPatch>,
    /// When to plan again if nothing changes.
    pub requeue: Requeue,
    /// What users should hear whether or not actions succeed.
    pub notes: Vec<Note>,
    /// What must be read from the API server itself, not from a cache, before more can be decided. The driver plans again with the answers.
    pub lookups: Vec<Lookup>,
    /// What the controller wants to be told at its next plan for this key; `None` leaves what it knew.
    pub memory: Option<Memory>,
}

/// An action and what to tell about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Told when it is done.
    pub success: Option<Note>,
    /// Told when it failed; the message is followed by the error.
    pub failure: Option<Note>,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Creates an object that has a full name, so that a second execution finds it.
    Create {
        /// Its kind.
        kind: Kind,
        /// The object.
        object: Value,
    },
    /// Deletes an object.
    Delete {
        /// Which.
        target: Target,
        /// It must still be at this resourceVersion; `None` where whatever happened to the object meanwhile does not matter.
        seen: Option<String>,
        /// What becomes of its dependents.
        propagation: Propagation,
        /// How long it may take to stop, in seconds; `None` for as long as it wants.
        grace: Option<i64>,
    },
    /// Changes an object by a JSON merge patch (RFC 7396).
    Patch {
        /// Which.
        target: Target,
        /// It must still be at this resourceVersion.
        seen: String,
        /// Which half of it.
        part: Part,
        /// The patch, without uid and resourceVersion.
        patch: Value,
    },
    /// Makes the object one of `owner`, if the owner still exists and is not being deleted, which is asked of the API server itself.
    Adopt {
        /// Which.
        target: Target,
        /// It must still be at this resourceVersion.
        seen: String,
        /// The owner to be.
        owner: Target,
        /// The patch, without uid and resourceVersion.
        patch: Value,
    },
    /// Deletes all objects of a kind in a namespace that is going away.
    DeleteAll {
        /// The kind.
        kind: Kind,
        /// The namespace.
        namespace: String,
    },
}

/// An object, told apart from others of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
}

/// Which half of an object a patch changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status.
    Status,
    /// The number of replicas, through the scale subresource.
    Scale,
    /// The finalizers in a Namespace's spec.
    Finalize,
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    #[default]
    Background,
    /// It stays until they are gone.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// A changed status.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusPatch {
    /// Whose.
    pub target: Target,
    /// The object must still be at this resourceVersion.
    pub seen: String,
    /// A JSON merge patch of the form `{"status": {..}}`.
    pub patch: Value,
}

/// When to plan again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requeue {
    /// At that time, or earlier when something changes.
    At(Timestamp),
    /// When something changes.
    #[default]
    OnChange,
}

impl Requeue {
    /// The earlier of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.min(other)
    }
}

/// Whether a note is about something going well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Not as it should be.
    Warning,
}

/// Something worth telling about an object: becomes an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The object.
    pub about: Target,
    /// How bad it is.
    pub severity: Severity,
    /// The machine's word for it.
    pub reason: Text,
    /// The words for people.
    pub message: String,
}

/// A question to the API server itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// Whether the object with this uid (if given, else any) exists.
    Exists {
        /// API version as an owner reference says it.
        api_version: String,
        /// Kind as an owner reference says it.
        kind: String,
        /// Its name.
        key: ObjectKey,
        /// Its uid.
        uid: Option<String>,
    },
    /// What is left in a namespace.
    Content {
        /// The namespace.
        namespace: String,
    },
}

impl Plan {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.status.is_none() && self.lookups.is_empty()
    }

    /// Adds an action nobody needs to hear of.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action.into());
    }

    /// Plans again at `at` at the latest.
    pub fn wake(&mut self, at: Timestamp) {
        self.requeue = self.requeue.or(Requeue::At(at));
    }
}

impl Target {
    /// The target that is this object.
    #[must_use]
    pub fn of(kind: &Kind, meta: &ObjectMeta) -> Self {
        Self {
            kind: kind.clone(),
            key: key_of(meta),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    /// The reference by which an object says that this is its controller.
    #[must_use]
    pub fn controller_ref(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.kind.api_version(),
            kind: self.kind.kind.to_string(),
            name: self.key.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// A note about it.
    #[must_use]
    pub fn note(&self, severity: Severity, reason: impl Into<Text>, message: String) -> Note {
        Note {
            about: self.clone(),
            severity,
            reason: reason.into(),
            message,
        }
    }

    /// A patch of its status from what it is to what it should be; `None` where that is the same.
    #[must_use]
    pub fn status<S: serde::Serialize>(
        &self,
        meta: &ObjectMeta,
        is: Option<&S>,
        should: &S,
    ) -> Option<StatusPatch> {
        let value = |status: &S| serde_json::to_value(status).unwrap_or_default();
        let is = is.map_or_else(|| json!({}), value);
        let patch = crate::merge::diff(&is, &value(should))?;
        Some(StatusPatch {
            target: self.clone(),
            seen: seen(meta),
            patch: json!({ "status": patch }),
        })
    }
}

impl From<Action> for Step {
    fn from(action: Action) -> Self {
        Self {
            action,
            success: None,
            failure: None,
        }
    }
}

impl From<StatusPatch> for Action {
    fn from(status: StatusPatch) -> Self {
        Self::Patch {
            target: status.target,
            seen: status.seen,
            part: Part::Status,
            patch: status.patch,
        }
    }
}

impl Action {
    /// The kind it changes.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        match self {
            Self::Create { kind, .. } | Self::DeleteAll { kind, .. } => kind,
            Self::Delete { target, .. }
            | Self::Patch { target, .. }
            | Self::Adopt { target, .. } => &target.kind,
        }
    }

    /// Whether it counts against [`BURST`].
    #[must_use]
    pub fn is_bursty(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Delete { .. })
    }

    /// Told when it is done.
    #[must_use]
    pub fn telling(self, success: Note, failure: Note) -> Step {
        Step {
            action: self,
            success: Some(success),
            failure: Some(failure),
        }
    }
}

/// The key in an object's metadata.
#[must_use]
pub fn key_of(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        namespace: meta.namespace.clone().filter(|name| !name.is_empty()),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// The resourceVersion an object was seen at.
#[must_use]
pub fn seen(meta: &ObjectMeta) -> String {
    meta.resource_version.clone().unwrap_or_default()
}
