//! The decision: filter, score, choose. In large clusters not every node is looked at: enough that can take the pod are, from another start each time.

use std::{collections::BTreeMap, fmt};

use crate::{
    groups::Slot,
    plugins::{Decision, Plugin, Plugins, Refusal},
    request::Request,
    snapshot::Snapshot,
};

/// Of fewer nodes than this all are looked at. Upstream's.
const ALL_BELOW: usize = 100;
/// At least so many hundredths of the nodes are looked at until they are found able. Upstream's.
const LEAST_PERCENT: usize = 5;

/// Why no node can take a pod: how many nodes there are, and how many refuse it for which reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unschedulable {
    /// All nodes.
    pub nodes: usize,
    /// Reasons, and how many nodes gave them. A node may have given several.
    pub reasons: BTreeMap<String, usize>,
    /// Who refused.
    pub plugins: Plugins,
    /// The nodes, by their places in the snapshot, that might take it if pods on them ended.
    pub curable: Vec<Slot>,
}

impl fmt::Display for Unschedulable {
    /// As upstream's `FitError`: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available", self.nodes)?;
        let mut told: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        told.sort();
        if !told.is_empty() {
            write!(f, ": {}", told.join(", "))?;
        }
        f.write_str(".")
    }
}

impl std::error::Error for Unschedulable {}

/// How many nodes that can take a pod are enough to choose from. Upstream's rule: half of them in small clusters, fewer in larger ones.
#[must_use]
pub fn enough(n_nodes: usize) -> usize {
    if n_nodes < ALL_BELOW {
        return n_nodes;
    }
    let percent = 50_usize.saturating_sub(n_nodes / 125).max(LEAST_PERCENT);
    (n_nodes * percent / 100).max(ALL_BELOW)
}

/// The node that a pod goes to. `chance` says where to begin to look, and decides among equals.
///
/// # Errors
/// [`Unschedulable`] when no node can take it.
pub fn assign(
    request: &Request,
    snapshot: &Snapshot,
    chance: usize,
) -> Result<String, Unschedulable> {
    let decision = Decision::new(request, snapshot);
    let slots = snapshot.slots();
    let enough = enough(snapshot.n_nodes());
    let mut able: Vec<Slot> = Vec::with_capacity(enough);
    let mut measured = Vec::with_capacity(enough);
    let mut refused = Refused::default();
    // Others have ended for the pod where it was promised a place.
    let promised = snapshot.promised(&request.uid);
    if let Some(state) = promised.and_then(|name| snapshot.node(name))
        && state.node.is_some()
        && decision.refusal(state).is_none()
    {
        return Ok(state.name.clone());
    }
    for slot in candidates(request, snapshot, chance) {
        let Some(state) = slots.get(slot).filter(|state| state.node.is_some()) else {
            continue;
        };
        if let Some(refusal) = decision.refusal(state) {
            refused.add(slot, refusal);
            continue;
        }
        able.push(slot);
        measured.push(decision.measure(slot, state));
        if able.len() >= enough {
            break;
        }
    }
    let name = |slot: Slot| slots.get(slot).map(|state| state.name.clone());
    let scores = decision.scores(&measured);
    let best = scores.iter().copied().max();
    let equals: Vec<Slot> = able
        .iter()
        .zip(&scores)
        .filter(|(_, score)| Some(**score) == best)
        .map(|(slot, _)| *slot)
        .collect();
    let chosen = chance.checked_rem(equals.len()).and_then(|n| equals.get(n));
    if let Some(name) = chosen.and_then(|slot| name(*slot)) {
        return Ok(name);
    }
    let mut unschedulable = Unschedulable {
        nodes: snapshot.n_nodes(),
        ..Unschedulable::default()
    };
    for (refusal, n) in refused.counted {
        unschedulable.plugins.insert(refusal.plugin());
        for reason in refusal.reasons() {
            *unschedulable.reasons.entry(reason).or_default() += n;
        }
    }
    unschedulable.curable = refused.curable;
    if let Some(named) = &request.nodes {
        others(named, snapshot, &mut unschedulable);
    }
    Err(unschedulable)
}

/// Refusals while nodes are looked at. Few differ, and words are made of them only when no node is left.
#[derive(Default)]
struct Refused<'a> {
    counted: Vec<(Refusal<'a>, usize)>,
    curable: Vec<Slot>,
}

impl<'a> Refused<'a> {
    fn add(&mut self, slot: Slot, refusal: Refusal<'a>) {
        if refusal.is_curable() {
            self.curable.push(slot);
        }
        match self.counted.iter_mut().find(|(one, _)| *one == refusal) {
            Some((_, n)) => *n += 1,
            None => self.counted.push((refusal, 1)),
        }
    }
}

/// The nodes that may be looked at, in the order they are: those the pod names, or all, from somewhere on.
fn candidates(
    request: &Request,
    snapshot: &Snapshot,
    chance: usize,
) -> Box<dyn Iterator<Item = Slot>> {
    if let Some(named) = &request.nodes {
        let slots: Vec<Slot> = named
            .iter()
            .filter_map(|name| snapshot.slot_of(name))
            .collect();
        return Box::new(slots.into_iter());
    }
    let n = snapshot.slots().len();
    let start = chance.checked_rem(n).unwrap_or(0);
    Box::new((start..n).chain(0..start))
}

/// The nodes that a pod does not name refuse it too, and say so.
fn others(named: &[String], snapshot: &Snapshot, unschedulable: &mut Unschedulable) {
    let known = |name: &&String| {
        snapshot
            .node(name)
            .is_some_and(|state| state.node.is_some())
    };
    let n = snapshot.n_nodes() - named.iter().filter(known).count();
    if n > 0 {
        let reason = "node(s) didn't match Pod's node affinity/selector".to_owned();
        *unschedulable.reasons.entry(reason).or_default() += n;
        unschedulable.plugins.insert(Plugin::NodeAffinity);
    }
}

#[cfg(test)]
mod tests;
