//! The decision: filter, score, choose.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1::Pod;

use crate::{filter, resources::Resources, score, snapshot::Snapshot};

/// Why no node can take a pod: how many nodes there are, and how many refuse it for which reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unschedulable {
    /// All nodes.
    pub nodes: usize,
    /// Reasons, and how many nodes gave them. A node may have given several.
    pub reasons: BTreeMap<String, usize>,
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

/// The node that `pod` goes to. Among equals `chance` decides.
///
/// # Errors
/// [`Unschedulable`] when no node can take it.
pub fn assign(pod: &Pod, snapshot: &Snapshot, chance: usize) -> Result<String, Unschedulable> {
    let wanted = Resources::requested(pod);
    let mut refused = Unschedulable::default();
    let mut names = Vec::new();
    let mut measured = Vec::new();
    for (name, state) in snapshot.nodes() {
        let Some(node) = state.node.as_deref() else {
            continue;
        };
        refused.nodes += 1;
        let refusals = filter::refusals(pod, &wanted, node, state);
        if refusals.is_empty() {
            names.push(name);
            measured.push(score::measure(pod, &wanted, node, state));
        }
        for reason in refusals {
            *refused.reasons.entry(reason).or_default() += 1;
        }
    }
    let totals = score::totals(&measured);
    let best = totals.iter().copied().max();
    let equals: Vec<&str> = names
        .iter()
        .zip(&totals)
        .filter(|(_, total)| Some(**total) == best)
        .map(|(name, _)| *name)
        .collect();
    let chosen = chance.checked_rem(equals.len()).and_then(|n| equals.get(n));
    chosen.map(|name| (*name).to_owned()).ok_or(refused)
}

#[cfg(test)]
mod tests;
