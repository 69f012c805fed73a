//! What pods use, as plain data: what `metrics.k8s.io` or a push from the nodes says.

use std::collections::BTreeMap;

use coracle_api::names::ObjectKey;
use jiff::{SignedDuration, Timestamp};

/// The newest measurements.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pods: BTreeMap<ObjectKey, Sample>,
    problem: Option<String>,
}

/// What one pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was measured: the end of the window.
    pub time: Timestamp,
    /// Over how long rates are averages.
    pub window: SignedDuration,
    /// By container.
    pub containers: BTreeMap<String, Usage>,
}

/// What one container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU in thousandths of a core.
    pub cpu_millis: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
}

/// A resource that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// CPU
    Cpu,
    /// Memory
    Memory,
}

impl Measured {
    /// The resource of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "cpu" => Some(Self::Cpu),
            "memory" => Some(Self::Memory),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

impl Sample {
    /// What the pod, or one container of it, uses of a resource, in thousandths; `None` where the container was not measured.
    #[must_use]
    pub fn millis(&self, of: Measured, container: Option<&str>) -> Option<i64> {
        let amount = |usage: &Usage| match of {
            Measured::Cpu => usage.cpu_millis,
            Measured::Memory => usage.memory_bytes.saturating_mul(1000),
        };
        match container {
            Some(name) => self.containers.get(name).map(amount),
            None => Some(
                self.containers
                    .values()
                    .map(amount)
                    .fold(0, i64::saturating_add),
            ),
        }
    }
}

impl Metrics {
    /// Replaces what was known of the pods of a namespace.
    pub fn replace(
        &mut self,
        namespace: &str,
        samples: impl IntoIterator<Item = (ObjectKey, Sample)>,
    ) {
        self.problem = None;
        self.pods
            .retain(|key, _| key.namespace.as_deref() != Some(namespace));
        self.pods.extend(samples);
    }

    /// Says that there are no measurements, and why.
    pub fn fail(&mut self, problem: impl Into<String>) {
        self.pods.clear();
        self.problem = Some(problem.into());
    }

    /// What a pod uses.
    #[must_use]
    pub fn of(&self, pod: &ObjectKey) -> Option<&Sample> {
        self.pods.get(pod)
    }

    /// Why there are none.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}
