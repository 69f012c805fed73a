//! What can happen to a pod, as its worker hears of it. Facts only; what they lead to is `step`'s business.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;

/// One run of one container: every start of an instance has its own number. The number is also the container's restart count while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId {
    /// The container's name, unique in its pod.
    pub container: Arc<str>,
    /// 0 for the first run.
    pub number: u32,
}

/// What the pod's worker is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The pod's object is new or changed; it is in [`crate::Ctx`].
    Updated,
    /// The pod's object no longer exists.
    Removed,
    /// The node has no room for the pod, or cannot run it at all. Only before anything was prepared.
    Refused {
        /// As `OutOfcpu`.
        reason: String,
        /// For people.
        message: String,
    },
    /// The pod has its network and volumes.
    Prepared {
        /// The pod's addresses, the main one first.
        ips: Vec<IpAddr>,
    },
    /// The pod's network or volumes could not be made; nothing is left of the attempt.
    PrepareFailed {
        /// As `FailedMount`.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// The container's image is at hand, checked and compiled.
    Fetched {
        /// For which run.
        run: RunId,
        /// What was fetched.
        image: Image,
    },
    /// The image is not at hand.
    FetchFailed {
        /// For which run.
        run: RunId,
        /// What kind of failure it is.
        fault: FetchFault,
        /// For people.
        message: String,
    },
    /// The container's instance runs.
    Started {
        /// Which run.
        run: RunId,
        /// The container's id, `scheme://id`.
        id: String,
    },
    /// The container's instance could not be made.
    StartFailed {
        /// Which run.
        run: RunId,
        /// What kind of failure it is.
        fault: StartFault,
        /// For people.
        message: String,
    },
    /// The container's instance has ended.
    Exited {
        /// Which run.
        run: RunId,
        /// Why.
        exit: Exit,
        /// When.
        at: Timestamp,
    },
    /// A probe was answered, or was not.
    Probed {
        /// Of which run.
        run: RunId,
        /// Which probe.
        probe: crate::probes::Kind,
        /// What was wrong; nothing when the probe succeeded.
        failure: Option<String>,
    },
    /// A life-cycle hook returned.
    HookDone {
        /// Of which run.
        run: RunId,
        /// Which hook.
        hook: Hook,
        /// What was wrong; nothing when the hook succeeded.
        failure: Option<String>,
    },
    /// A config map, secret or other object that the pod refers to has changed: what failed for want of it may succeed now.
    ReferencesChanged,
    /// Time has passed [`crate::State::wake_at`].
    Wake,
    /// The pod's network and volumes are gone.
    Released,
    /// The agent is ending: containers stop, the pod stays bound to this node and starts again with the agent.
    Shutdown {
        /// When containers that still run are ended.
        deadline: Timestamp,
    },
}

/// An image at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The reference as the container's spec has it.
    pub reference: String,
    /// What it resolved to, `name@sha256:...`.
    pub id: String,
}

/// Why an image is not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFault {
    /// The reference cannot be read. Only a change of the pod helps.
    InvalidName,
    /// It is absent and must not be pulled.
    NeverPull,
    /// The registry does not have it, cannot be reached, or sent something else.
    Pull,
    /// What was pulled is no module that this node can run.
    InvalidImage,
}

/// Why an instance could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFault {
    /// A config map, secret, field or path that the spec names is not there. Not counted as a run.
    Config,
    /// The instance could not be created or trapped while it was. Counted as a run that ended.
    Start,
}

/// What ended an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned, or exited by itself.
    Completed(i32),
    /// It trapped.
    Trapped(String),
    /// It used its whole fuel budget.
    OutOfFuel,
    /// It needed more memory than its limit.
    OutOfMemory,
    /// It was ended because its grace period was over.
    Killed,
    /// It was asked to stop and did.
    Stopped,
    /// The node failed it.
    HostFault(String),
}

/// A hook of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// After the instance runs; the container has not started before it returns.
    PostStart,
    /// Before the instance is asked to stop.
    PreStop,
}

impl Event {
    /// The event's name, for logs and the transition table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Updated => "Updated",
            Self::Removed => "Removed",
            Self::Refused { .. } => "Refused",
            Self::Prepared { .. } => "Prepared",
            Self::PrepareFailed { .. } => "PrepareFailed",
            Self::Fetched { .. } => "Fetched",
            Self::FetchFailed { .. } => "FetchFailed",
            Self::Started { .. } => "Started",
            Self::StartFailed { .. } => "StartFailed",
            Self::Exited { .. } => "Exited",
            Self::Probed { .. } => "Probed",
            Self::HookDone { .. } => "HookDone",
            Self::ReferencesChanged => "ReferencesChanged",
            Self::Wake => "Wake",
            Self::Released => "Released",
            Self::Shutdown { .. } => "Shutdown",
        }
    }
}
