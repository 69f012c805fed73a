//! How well a node that can take a pod suits it. Each plugin gives 0 to 100; the sums are compared (upstream's weights where it has the plugin).

use coracle_api::pods;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::{affinity, resources::Resources, snapshot::NodeState, taints};

/// The best a plugin gives.
pub const BEST: i64 = 100;
/// The resources whose use is compared.
const COMPARED: [&str; 2] = ["cpu", "memory"];

/// What is measured of a node before nodes are compared.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    /// Part of the resources that would be free, 0 to 100 (upstream: `LeastAllocated`).
    pub free: i64,
    /// How evenly they would be used, 0 to 100 (upstream: `BalancedAllocation`).
    pub balance: i64,
    /// Pods of the same owner that are there (upstream: the default of `PodTopologySpread`).
    pub siblings: i64,
    /// Weights of the terms that the pod prefers (upstream: `NodeAffinity`).
    pub preference: i64,
    /// Taints that the pod would rather not have (upstream: `TaintToleration`).
    pub disliked: i64,
}

/// Measures a node.
#[must_use]
pub fn measure(pod: &Pod, wanted: &Resources, node: &Node, state: &NodeState) -> Raw {
    let used = COMPARED.map(|name| {
        let all = state.allocatable.get(name);
        let used = state.requested.get(name).saturating_add(wanted.get(name));
        if all <= 0 {
            BEST
        } else {
            used.saturating_mul(BEST)
                .checked_div(all)
                .unwrap_or(BEST)
                .clamp(0, BEST)
        }
    });
    let [cpu, memory] = used;
    let owner = pods::controller_ref(&pod.metadata);
    let siblings = owner.map_or(0, |owner| {
        let all = state.pods.values();
        all.filter(|other| pods::is_controlled_by(&other.metadata, &owner.uid))
            .count()
    });
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let disliked = taints
        .into_iter()
        .flatten()
        .filter(|taint| taint.effect == "PreferNoSchedule" && !taints::is_tolerated(pod, taint));
    Raw {
        free: BEST - (cpu + memory) / 2,
        balance: BEST - (cpu - memory).abs() / 2,
        siblings: i64::try_from(siblings).unwrap_or(i64::MAX),
        preference: affinity::preference(pod, node),
        disliked: i64::try_from(disliked.count()).unwrap_or(i64::MAX),
    }
}

/// The totals of nodes that were measured, in their order.
#[must_use]
pub fn totals(measured: &[Raw]) -> Vec<i64> {
    let most = |of: fn(&Raw) -> i64| measured.iter().map(of).max().unwrap_or(0);
    let siblings = most(|raw| raw.siblings);
    let preference = most(|raw| raw.preference);
    let disliked = most(|raw| raw.disliked);
    let part = |of: i64, most: i64| of.saturating_mul(BEST).checked_div(most).unwrap_or(0);
    let fewer = |of: i64, most: i64| BEST - part(of, most);
    measured
        .iter()
        .map(|raw| {
            raw.free
                + raw.balance
                + 2 * fewer(raw.siblings, siblings)
                + 2 * part(raw.preference, preference)
                + 3 * fewer(raw.disliked, disliked)
        })
        .collect()
}
