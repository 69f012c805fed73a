//! What a pod's worker wants done. Effects are values; the node's executor does them in order and answers with events.

use std::{sync::Arc, time::Duration};

use crate::{
    event::{Hook, RunId},
    probes,
};

/// Something to do. Each variant says which event answers it; an effect without one needs no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make the pod's network and volumes. Answer: `Prepared` or `PrepareFailed`.
    Prepare,
    /// Get the container's image. Answer: `Fetched` or `FetchFailed`.
    Fetch {
        /// For which run.
        run: RunId,
    },
    /// Make and run an instance. Answer: `StartFailed`, or `Started` and later exactly one `Exited`.
    Start {
        /// Which run.
        run: RunId,
    },
    /// Ask an instance to stop, and end it when the time is up. May come again with less time. Answer: the run's `Exited`.
    Stop {
        /// Which run.
        run: RunId,
        /// How long it may take. Zero: at once.
        grace: Duration,
    },
    /// Run a life-cycle hook. Answer: `HookDone`, at the latest when the time is up.
    Hook {
        /// Of which run.
        run: RunId,
        /// Which hook.
        hook: Hook,
        /// How long it may take.
        timeout: Duration,
    },
    /// Probe a container. Answer: `Probed`, at the latest when the time is up.
    Probe {
        /// Of which run.
        run: RunId,
        /// Which probe.
        probe: probes::Kind,
        /// How long the answer may take.
        timeout: Duration,
    },
    /// Take the pod's network and volumes away. Answer: `Released`.
    Release,
    /// Tell the API server the pod's status.
    Publish,
    /// Have the API server drop the object: nothing of the pod runs any more. Answer: `Removed`.
    Confirm,
    /// Forget the pod: logs and directories go too. The worker ends.
    Forget,
    /// Tell people.
    Tell(Note),
}

/// What becomes an Event object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Normal or Warning.
    pub kind: NoteKind,
    /// As `BackOff`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The container it is about.
    pub container: Option<Arc<str>>,
}

/// The type of an Event object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Note {
    /// A note about a container.
    #[must_use]
    pub fn normal(container: &Arc<str>, reason: &'static str, message: String) -> Self {
        Self {
            kind: NoteKind::Normal,
            reason,
            message,
            container: Some(Arc::clone(container)),
        }
    }

    /// A warning about a container.
    #[must_use]
    pub fn warning(container: &Arc<str>, reason: &'static str, message: String) -> Self {
        Self {
            kind: NoteKind::Warning,
            ..Self::normal(container, reason, message)
        }
    }

    /// A warning about the pod.
    #[must_use]
    pub fn pod_warning(reason: &'static str, message: String) -> Self {
        Self {
            kind: NoteKind::Warning,
            reason,
            message,
            container: None,
        }
    }
}
