//! Spreads pods of a kind evenly over the values of labels of nodes (upstream: `PodTopologySpread`): as a must, or as well as it goes.

use std::borrow::Cow;

use coracle_api::affinity;

use super::{BEST, Refusal, taints};
use crate::{
    groups::{Group, Slot},
    request::{Request, Spreading},
    snapshot::{NodeState, Snapshot},
    topology::{ByNumber, Counts, HOSTNAME, Key, NOWHERE, Value},
};

/// What is the same for all nodes.
pub struct Spread<'a> {
    musts: Vec<Must<'a>>,
    wishes: Vec<Wish<'a>>,
}

/// A constraint that must hold.
struct Must<'a> {
    spreading: &'a Spreading,
    counts: Cow<'a, Counts>,
    /// The fewest at any value that counts.
    least: u32,
}

/// A constraint that should.
struct Wish<'a> {
    spreading: &'a Spreading,
    group: &'a Group,
    /// By value; nothing where each node is a value of its own.
    counts: Option<&'a Counts>,
    /// How much a pod counts: the less, the fewer values there are.
    weight: f64,
}

impl<'a> Spread<'a> {
    /// Looks up the counts.
    #[must_use]
    pub fn new(request: &'a Request, snapshot: &'a Snapshot) -> Self {
        let hard: Vec<&Spreading> = request.spreading.iter().filter(|one| one.is_hard).collect();
        let musts = hard.iter().map(|one| must(one, &hard, request, snapshot));
        let soft = request.spreading.iter().filter(|one| !one.is_hard);
        let hostname = snapshot.topology().known(HOSTNAME);
        let wish = |spreading: &'a Spreading| {
            let group = snapshot.groups().get(spreading.group)?;
            let n_values = snapshot.topology().n_domains(spreading.key);
            let is_host = hostname == Some(spreading.key);
            Some(Wish {
                spreading,
                group,
                counts: group.counts(spreading.key).filter(|_| !is_host),
                // The logarithm of two more than the values: never zero, and small numbers differ little.
                weight: (real(n_values) + 2.0).ln(),
            })
        };
        Self {
            musts: musts.collect(),
            wishes: soft.filter_map(wish).collect(),
        }
    }

    /// Why a node cannot take the pod.
    #[must_use]
    pub fn refusal(&self, state: &NodeState) -> Option<Refusal<'static>> {
        for must in &self.musts {
            let at = state.at(must.spreading.key);
            if at == NOWHERE {
                return Some(Refusal::Unspread);
            }
            let itself = i64::from(must.spreading.counts_itself);
            let skew = i64::from(must.counts.get(at)) + itself - i64::from(must.least);
            if skew > i64::from(must.spreading.max_skew) {
                return Some(Refusal::Skewed);
            }
        }
        None
    }

    /// How many of the pod's like are where a node is, weighed; nothing where the node lacks a label that the pod asks for.
    #[must_use]
    pub fn crowding(&self, slot: Slot, state: &NodeState) -> Option<f64> {
        let mut sum = 0.0;
        for wish in &self.wishes {
            let at = state.at(wish.spreading.key);
            if at == NOWHERE {
                if wish.spreading.is_explicit {
                    return None;
                }
                continue;
            }
            let n = match wish.counts {
                Some(counts) => counts.get(at),
                None => wish.group.on_node(slot),
            };
            sum += f64::from(n) * wish.weight + f64::from(wish.spreading.max_skew - 1);
        }
        Some(sum)
    }

    /// Scores of nodes by how crowded they are, in their order: [`BEST`] for the least.
    #[must_use]
    pub fn scores(&self, crowding: Vec<Option<f64>>) -> Vec<i64> {
        if self.wishes.is_empty() {
            return vec![0; crowding.len()];
        }
        let known = || crowding.iter().filter_map(|one| one.map(rounded));
        let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
        let score = |one: Option<f64>| match one {
            None => 0,
            Some(_) if most == 0 => BEST,
            Some(one) => BEST * (most + least - rounded(one)) / most,
        };
        crowding.into_iter().map(score).collect()
    }
}

fn real(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "sums of weighed counts are far below 2^63"
)]
fn rounded(number: f64) -> i64 {
    number.round() as i64
}

fn must<'a>(
    spreading: &'a Spreading,
    all: &[&Spreading],
    request: &Request,
    snapshot: &'a Snapshot,
) -> Must<'a> {
    let topology = snapshot.topology();
    let n_nodes = snapshot.n_nodes();
    // Where every node counts, the counts are there already.
    let every_node = !(spreading.honors_taints
        || spreading.honors_affinity && request.selects_nodes)
        && all.iter().all(|one| topology.n_nodes(one.key) == n_nodes);
    let group = snapshot.groups().get(spreading.group);
    let known = group.and_then(|group| group.counts(spreading.key));
    let (counts, n_domains) = match known {
        Some(counts) if every_node => (Cow::Borrowed(counts), topology.n_domains(spreading.key)),
        _ => counted(spreading, all, request, snapshot),
    };
    let least = if n_domains < spreading.min_domains {
        0
    } else {
        counts.least(n_domains)
    };
    Must {
        spreading,
        counts,
        least,
    }
}

/// Counts over the nodes that count for a constraint.
fn counted<'a>(
    spreading: &Spreading,
    all: &[&Spreading],
    request: &Request,
    snapshot: &Snapshot,
) -> (Cow<'a, Counts>, usize) {
    let mut counts = Counts::default();
    let mut values: ByNumber<Value, ()> = ByNumber::default();
    let group = snapshot.groups().get(spreading.group);
    for (slot, state) in snapshot.slots().iter().enumerate() {
        let Some(node) = state.node.as_deref() else {
            continue;
        };
        let keys: Vec<Key> = all.iter().map(|one| one.key).collect();
        let has_all = keys.iter().all(|key| state.at(*key) != NOWHERE);
        let is_selected = !spreading.honors_affinity
            || !request.selects_nodes
            || affinity::matches(&request.pod, node);
        let is_tolerated = !spreading.honors_taints
            || taints::untolerated(&request.pod, &state.repelling).is_none();
        if has_all && is_selected && is_tolerated {
            let at = state.at(spreading.key);
            values.insert(at, ());
            counts.add(at, group.map_or(0, |group| group.on_node(slot)));
        }
    }
    (Cow::Owned(counts), values.len())
}
