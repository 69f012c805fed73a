//! What a node tells of its use of CPU and memory: the answer to `GET /stats` on the node's own endpoint. `metrics.k8s.io` and the autoscaler are made of it;
//! it is no API object itself. Only types: who measures, and how, is the node's business.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A node and its pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStats {
    /// The node's name.
    pub name: String,
    /// The end of the window over which rates are taken.
    pub time: Timestamp,
    /// How long the window is, as Go writes durations (`10s`, `1.5s`). What began within it is measured from its beginning.
    pub window: String,
    /// The whole agent: all pods and the agent itself.
    pub node: Usage,
    /// The pods that have a container running.
    #[serde(default)]
    pub pods: Vec<PodStats>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The sum of its containers.
    pub usage: Usage,
    /// Its containers that run.
    pub containers: Vec<ContainerStats>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStats {
    /// Its name.
    pub name: String,
    /// What it uses.
    #[serde(flatten)]
    pub usage: Usage,
    /// The most memory it had at any time, in bytes.
    pub peak_bytes: u64,
    /// Units of fuel it burnt so far.
    pub fuel: u64,
    /// Periods of its CPU limit in which it ran, and in which it was held back, as cAdvisor has them.
    pub periods: u64,
    /// See `periods`.
    pub throttled_periods: u64,
    /// How long its CPU limit held it back so far, in nanoseconds.
    pub throttled_nanoseconds: u64,
}

/// CPU over the window, and memory at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// CPU time per second of the window, in billionths of a core.
    pub usage_nano_cores: u64,
    /// CPU time since the start, in nanoseconds.
    pub usage_core_nano_seconds: u64,
    /// Memory in bytes.
    pub working_set_bytes: u64,
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            usage_nano_cores: sum.usage_nano_cores.saturating_add(one.usage_nano_cores),
            usage_core_nano_seconds: sum
                .usage_core_nano_seconds
                .saturating_add(one.usage_core_nano_seconds),
            working_set_bytes: sum.working_set_bytes.saturating_add(one.working_set_bytes),
        })
    }
}
