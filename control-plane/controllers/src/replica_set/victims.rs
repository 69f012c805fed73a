//! Which pods go first when there are too many. Upstream's order (`ActivePodsWithRanks`): what serves least, then what is doubled up on a node, then
//! what is youngest, in steps of powers of two so that pods of about the same age are equals.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use coracle_api::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::readiness;

/// Users say with it how dear a pod is; the default is 0.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The order in which pods go. The order of the fields is the policy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    assigned: bool,
    phase: Phase,
    ready: bool,
    cost: i32,
    on_node: Reverse<usize>,
    ready_for: u32,
    restarts: Reverse<i32>,
    age: u32,
    uid: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Pending,
    Unknown,
    Running,
}

/// The `count` pods of `pods` that go first. `all` are the pods that count as doubling up a node, `pods` among them.
#[must_use]
pub fn choose<'a>(
    pods: &[&'a Arc<Pod>],
    all: &[&'a Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<&'a Arc<Pod>> {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in all.iter().filter(|pod| pods::is_active(pod)) {
        if let Some(node) = pods::node_name(pod) {
            *on_node.entry(node).or_default() += 1;
        }
    }
    let mut ranked: Vec<&Arc<Pod>> = pods.to_vec();
    ranked.sort_by_cached_key(|pod| rank(pod, &on_node, now));
    ranked.truncate(count);
    ranked
}

fn rank(pod: &Pod, on_node: &BTreeMap<&str, usize>, now: Timestamp) -> Rank {
    let node = pods::node_name(pod);
    let meta = &pod.metadata;
    let cost = meta
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(COST)?.parse().ok());
    Rank {
        assigned: node.is_some(),
        phase: match pods::phase(pod) {
            "Running" => Phase::Running,
            "Unknown" => Phase::Unknown,
            _ => Phase::Pending,
        },
        ready: pods::is_ready(pod),
        cost: cost.unwrap_or(0),
        on_node: Reverse(
            node.and_then(|node| on_node.get(node))
                .copied()
                .unwrap_or(0),
        ),
        ready_for: magnitude(readiness::ready_since(pod), now),
        restarts: Reverse(readiness::restarts(pod)),
        age: magnitude(meta.creation_timestamp.as_ref().map(|time| time.0), now),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

/// How long something lasts, as the number of binary digits of its nanoseconds.
fn magnitude(since: Option<Timestamp>, now: Timestamp) -> u32 {
    let lasted = since.map_or(0, |since| now.duration_since(since).as_nanos());
    u128::try_from(lasted).map_or(0, |lasted| u128::BITS - lasted.leading_zeros())
}
