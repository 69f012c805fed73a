//! What the worker remembers of its pod. Data and readings of it; `step` is the only one who changes it.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::{
    event::{FetchFault, Image, RunId},
    probes::{Kind, Prober},
    restart::{RestartBackOff, RetryBackOff},
};

/// The present, as far as deciding needs it.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'a> {
    /// The pod's object as last seen. Its uid never changes during a worker's life.
    pub pod: &'a Pod,
    /// The time.
    pub now: Timestamp,
    /// The node's addresses, the main one first.
    pub host_ips: &'a [IpAddr],
}

/// Everything a worker knows of its pod.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(crate) stage: Stage,
    /// Why and until when it ends; set before the stage becomes `Terminating`.
    pub(crate) ending: Option<Ending>,
    /// Init containers in order, then the others.
    pub(crate) containers: Vec<Container>,
    pub(crate) held: Held,
    pub(crate) prepare_retry: RetryBackOff,
    pub(crate) ips: Vec<IpAddr>,
    /// When this node first saw the pod.
    pub(crate) start_time: Timestamp,
    /// When the pod has to end by its spec.
    pub(crate) active_until: Option<Timestamp>,
    /// The shortest grace period that the object's deletion was seen with.
    pub(crate) deletion_grace: Option<std::time::Duration>,
    /// The object is gone.
    pub(crate) removed: bool,
    /// The agent ends, and the worker with it as soon as nothing runs.
    pub(crate) shutdown: bool,
    pub(crate) conditions: BTreeMap<&'static str, Condition>,
}

/// Where the pod is between binding and oblivion. Each stage lists what leads out of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Nothing was done yet. Left at the first event.
    New,
    /// Network and volumes are being made. Left when they are, or could not be.
    Preparing,
    /// They could not be made. Left when it is time, when a referenced object changes, or to end.
    PrepareFailed {
        /// As `FailedMount`.
        reason: &'static str,
        /// For people.
        message: String,
        /// When to try again.
        retry: Timestamp,
    },
    /// Containers may run. Left when all are done or the pod has to end.
    Active,
    /// Containers are being stopped. Left when none runs.
    Terminating,
    /// Network and volumes are being taken away. Left when they are gone.
    Releasing,
    /// Nothing is left but the object and the logs. Left when the object is deleted.
    Ended,
    /// The API server was asked to drop the object. Left when it has.
    Confirming,
    /// The worker may go.
    Gone,
}

/// Whether the pod holds a network and volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// No.
    No,
    /// They are being made.
    Asked,
    /// Yes.
    Yes,
}

/// Why a pod ends, and by when its containers have to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// When containers that still run are ended.
    pub deadline: Timestamp,
}

/// Why a pod ends. Later ones in this list are stronger: they replace earlier ones while the pod ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The agent ends; the pod does not.
    Shutdown,
    /// Its containers are done.
    Completed,
    /// The object is being deleted.
    Deleted,
    /// It was active for longer than its spec allows.
    Deadline,
    /// The node refused it.
    Refused {
        /// As `OutOfcpu`.
        reason: String,
        /// For people.
        message: String,
    },
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has to complete before the next one begins.
    Init,
    /// An init container that keeps running (KEP-753).
    Sidecar,
    /// One of the pod's containers.
    Main,
    /// Added to the running pod to look at it (`kubectl debug`): begins at once, never restarts, and counts for nothing else.
    Ephemeral,
}

/// What is known of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
    /// The number of the run that is under way or comes next. Never falls.
    pub(crate) run: u32,
    pub(crate) phase: Phase,
    /// The reference that was last fetched or tried.
    pub(crate) wanted: Option<String>,
    /// The image of the run.
    pub(crate) image: Option<Image>,
    /// The id of the latest instance.
    pub(crate) id: Option<String>,
    /// How the run before ended.
    pub(crate) last: Option<Ended>,
    pub(crate) restart: RestartBackOff,
    pub(crate) fetch_retry: RetryBackOff,
}

/// Where a container is. Each phase lists what leads out of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Its turn has not come. Left when it has.
    Waiting,
    /// Its image is being fetched. Left when it is, or could not be.
    Fetching,
    /// Its image could not be fetched. Left when it is time, or when the spec names another image.
    FetchFailed {
        /// What kind of failure it is.
        fault: FetchFault,
        /// For people.
        message: String,
        /// When the failure has been shown long enough and waiting is shown instead; nothing when it already is.
        settles: Option<Timestamp>,
        /// When to try again; nothing when only another image helps.
        retry: Option<Timestamp>,
    },
    /// An instance is being made. Left when it runs, or could not be made.
    Starting,
    /// Something that its spec refers to is missing. Left when it is time, or when a referenced object changes.
    Unconfigured {
        /// For people.
        message: String,
        /// When to try again.
        retry: Timestamp,
    },
    /// An instance runs. Left when it has ended or has to.
    Running(Live),
    /// An instance has to end. Left when it has.
    Stopping {
        /// What it was while it ran.
        live: Live,
        /// Why it has to end.
        cause: StopCause,
        /// Whether it was asked to; before that its `preStop` hook runs.
        asked: bool,
        /// When it is ended.
        deadline: Timestamp,
    },
    /// The instance has ended. Left at once: what follows is decided in the same step.
    Exited {
        /// How.
        ended: Ended,
        /// Why it was stopped, if it was.
        cause: Option<StopCause>,
    },
    /// It ended and starts again. Left when it is time.
    BackOff {
        /// How it ended.
        ended: Ended,
        /// When it starts.
        retry: Timestamp,
    },
    /// It ended for good, or never was and never will be.
    Done {
        /// How.
        ended: Option<Ended>,
    },
}

/// An instance that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub(crate) started_at: Timestamp,
    /// Its `postStart` hook, if any, has returned.
    pub(crate) hooked: bool,
    pub(crate) startup: Option<Prober>,
    pub(crate) liveness: Option<Prober>,
    pub(crate) readiness: Option<Prober>,
}

/// Why an instance has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// Its pod ends.
    PodEnds,
    /// A probe of this kind failed.
    Probe(Kind),
    /// Its `postStart` hook failed.
    PostStart,
    /// The spec names another image.
    Changed,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The number of the run.
    pub run: u32,
    /// As `Completed`, `Error`, `OOMKilled`.
    pub reason: Cow<'static, str>,
    /// 0 to 255.
    pub exit_code: i32,
    /// For people.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Its id.
    pub container_id: Option<String>,
}

/// A condition of the pod as last published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub(crate) holds: bool,
    pub(crate) reason: Option<Cow<'static, str>>,
    pub(crate) message: Option<String>,
    /// When it last began or ceased to hold.
    pub(crate) since: Timestamp,
}

// === impl State ===

impl State {
    /// Where the pod is.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Whether the worker has nothing left to do, ever.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// Whether the pod has ended, so that it takes no room on the node.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.stage {
            Stage::Ended | Stage::Confirming | Stage::Gone => true,
            Stage::New
            | Stage::Preparing
            | Stage::PrepareFailed { .. }
            | Stage::Active
            | Stage::Terminating
            | Stage::Releasing => false,
        }
    }

    /// The pod's addresses; none before it was prepared.
    #[must_use]
    pub fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    /// The latest run of a container, and whether its instance runs.
    #[must_use]
    pub fn run_of(&self, container: &str) -> Option<(RunId, bool)> {
        let container = self.containers.iter().find(|one| &*one.name == container)?;
        Some((container.run_id(), container.live().is_some()))
    }

    /// Whether some container waits for an object that it refers to.
    #[must_use]
    pub fn waits_for_references(&self) -> bool {
        matches!(self.stage, Stage::PrepareFailed { .. })
            || self
                .containers
                .iter()
                .any(|one| matches!(one.phase, Phase::Unconfigured { .. }))
    }

    /// When time itself becomes an event: an [`crate::Event::Wake`] is due then, and is harmless earlier.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let own = match &self.stage {
            Stage::PrepareFailed { retry, .. } => Some(*retry),
            Stage::New
            | Stage::Preparing
            | Stage::Active
            | Stage::Terminating
            | Stage::Releasing
            | Stage::Ended
            | Stage::Confirming
            | Stage::Gone => None,
        };
        let deadline = self.active_until.filter(|_| self.ending.is_none());
        // While the pod ends only what is being stopped is waited for: nothing is probed or retried any more.
        let counts =
            |one: &&Container| self.ending.is_none() || matches!(one.phase, Phase::Stopping { .. });
        let containers = self
            .containers
            .iter()
            .filter(counts)
            .filter_map(Container::wake_at);
        own.into_iter().chain(deadline).chain(containers).min()
    }

    pub(crate) fn mains(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|one| one.role == Role::Main)
    }
}

// === impl Container ===

impl Container {
    pub(crate) fn new(name: Arc<str>, role: Role) -> Self {
        Self {
            name,
            role,
            run: 0,
            phase: Phase::Waiting,
            wanted: None,
            image: None,
            id: None,
            last: None,
            restart: RestartBackOff::default(),
            fetch_retry: RetryBackOff::default(),
        }
    }

    pub(crate) fn run_id(&self) -> RunId {
        RunId {
            container: Arc::clone(&self.name),
            number: self.run,
        }
    }

    /// The instance, while there is one.
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.phase {
            Phase::Running(live) | Phase::Stopping { live, .. } => Some(live),
            Phase::Waiting
            | Phase::Fetching
            | Phase::FetchFailed { .. }
            | Phase::Starting
            | Phase::Unconfigured { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => None,
        }
    }

    /// How it ended, when it has ended for good.
    pub(crate) fn done(&self) -> Option<Option<&Ended>> {
        match &self.phase {
            Phase::Done { ended } => Some(ended.as_ref()),
            Phase::Waiting
            | Phase::Fetching
            | Phase::FetchFailed { .. }
            | Phase::Starting
            | Phase::Unconfigured { .. }
            | Phase::Running(_)
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. } => None,
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.live().is_some_and(Live::is_started)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.live().is_some_and(Live::is_ready)
    }

    fn wake_at(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::FetchFailed { settles, retry, .. } => settles.iter().chain(retry).min().copied(),
            Phase::Unconfigured { retry, .. } | Phase::BackOff { retry, .. } => Some(*retry),
            Phase::Running(live) => live.due().filter_map(|(_, prober)| prober.due_at()).min(),
            Phase::Stopping {
                asked: false,
                deadline,
                ..
            } => Some(*deadline),
            Phase::Waiting
            | Phase::Fetching
            | Phase::Starting
            | Phase::Stopping { asked: true, .. }
            | Phase::Exited { .. }
            | Phase::Done { .. } => None,
        }
    }
}

// === impl Live ===

impl Live {
    /// Whether its hook has returned and its startup probe, if any, has passed.
    pub(crate) fn is_started(&self) -> bool {
        self.hooked && self.startup.as_ref().is_none_or(Prober::passes)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_started() && self.readiness.as_ref().is_none_or(Prober::passes)
    }

    /// The probes that may run now: startup alone until it has passed.
    pub(crate) fn due(&self) -> impl Iterator<Item = (Kind, &Prober)> {
        let starting = self.startup.as_ref().filter(|startup| !startup.passes());
        let others = [
            (Kind::Liveness, &self.liveness),
            (Kind::Readiness, &self.readiness),
        ];
        let others = others
            .into_iter()
            .filter_map(|(kind, prober)| Some((kind, prober.as_ref()?)))
            .filter(move |_| starting.is_none());
        starting
            .map(|startup| (Kind::Startup, startup))
            .into_iter()
            .chain(others)
    }

    pub(crate) fn prober(&mut self, kind: Kind) -> Option<&mut Prober> {
        match kind {
            Kind::Startup => self.startup.as_mut(),
            Kind::Liveness => self.liveness.as_mut(),
            Kind::Readiness => self.readiness.as_mut(),
        }
    }
}
