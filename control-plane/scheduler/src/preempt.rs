//! Whose place a pod may take: the fewest and least important pods of lower priority that have to end on one node so that it fits. Rules: upstream
//! `framework/preemption`.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use coracle_api::selector::LabelSelector;
use jiff::Timestamp;

use crate::{
    assign::Unschedulable,
    groups::Slot,
    plugins::Decision,
    request::Request,
    snapshot::{NodeState, Snapshot},
};

/// At least so many nodes are tried before one is chosen, or a tenth of them. Upstream's.
const TRIED: usize = 100;

/// How many pods of a kind may be ended now (upstream: `PodDisruptionBudget`).
#[derive(Clone, Debug)]
pub struct Budget {
    /// In this namespace,
    pub namespace: String,
    /// of those that this selects,
    pub selector: LabelSelector,
    /// so many.
    pub allowed: i32,
}

/// Whose place a pod takes.
#[derive(Clone, Debug)]
pub struct Preemption {
    /// On which node.
    pub node: String,
    /// Who has to end.
    pub victims: Vec<Arc<Request>>,
}

/// Pods that would have to end on a node.
struct Candidate {
    slot: Slot,
    victims: Vec<Arc<Request>>,
    /// Of them, so many beyond what budgets allow.
    violations: usize,
}

/// By what the better of two candidates is found, the least first. The order of the fields is the policy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    violations: usize,
    highest: i32,
    sum: i64,
    count: usize,
    /// The most important of them should have started late.
    started: Reverse<Option<Timestamp>>,
}

/// Finds whose place a pod may take that no node of `snapshot` can take, as was `refused` just now. The snapshot is as it was afterwards.
///
/// # Errors
/// In upstream's words, why nobody's.
pub fn preempt(
    request: &Request,
    refused: &Unschedulable,
    snapshot: &mut Snapshot,
    budgets: &[Budget],
    chance: usize,
) -> Result<Preemption, String> {
    let spec = request.pod.spec.as_ref();
    if spec.and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Err("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    if waits_for_end(request, snapshot) {
        return Err("not eligible due to a terminating pod on the nominated node.".to_owned());
    }
    let n = refused.curable.len();
    if !snapshot.has_lower(request.priority) {
        return Err(nobody(n, refused.nodes));
    }
    let enough = (refused.nodes / 10).max(TRIED);
    let start = chance.checked_rem(n).unwrap_or(0);
    let order = (start..n).chain(0..start);
    let slots = order.filter_map(|at| refused.curable.get(at));
    let mut found: Vec<Candidate> = Vec::new();
    for slot in slots {
        found.extend(candidate(request, *slot, snapshot, budgets));
        if found.len() >= enough {
            break;
        }
    }
    let best = found.into_iter().min_by_key(cost);
    let chosen = best.and_then(|best| {
        let node = snapshot.slots().get(best.slot)?.name.clone();
        Some(Preemption {
            node,
            victims: best.victims,
        })
    });
    chosen.ok_or_else(|| nobody(n, refused.nodes))
}

/// What is told when nobody's place can be taken.
fn nobody(n_tried: usize, n_nodes: usize) -> String {
    let told = [
        (n_tried, "No preemption victims found for incoming pod"),
        (
            n_nodes - n_tried,
            "Preemption is not helpful for scheduling",
        ),
    ];
    let told: Vec<String> = told
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, words)| format!("{n} {words}"))
        .collect();
    format!("0/{n_nodes} nodes are available: {}.", told.join(", "))
}

/// Whether the pod has made others end where it was promised a place, and they have not yet.
fn waits_for_end(request: &Request, snapshot: &Snapshot) -> bool {
    let status = request.pod.status.as_ref();
    let promised = status.and_then(|status| status.nominated_node_name.as_deref());
    let state = promised.and_then(|name| snapshot.node(name));
    state.is_some_and(|state| {
        state.pods.values().any(|other| {
            other.priority < request.priority && other.pod.metadata.deletion_timestamp.is_some()
        })
    })
}

/// Who would have to end on a node; nothing where that does not help.
fn candidate(
    request: &Request,
    slot: Slot,
    snapshot: &mut Snapshot,
    budgets: &[Budget],
) -> Option<Candidate> {
    let state = snapshot.slots().get(slot)?;
    let name = state.name.clone();
    let mut lower: Vec<Arc<Request>> = state
        .pods
        .values()
        .filter(|other| other.priority < request.priority)
        .cloned()
        .collect();
    if lower.is_empty() {
        return None;
    }
    for other in &lower {
        snapshot.remove_pod(&other.uid);
    }
    let mut victims = Vec::new();
    let mut violations = 0;
    let helps = fits(request, slot, snapshot);
    if helps {
        // The dearest are kept first: those that budgets protect, and of those the most important.
        lower.sort_by_key(importance);
        let (protected, free) = protect(lower.clone(), budgets);
        let order = protected.into_iter().map(|one| (one, true));
        for (other, is_protected) in order.chain(free.into_iter().map(|one| (one, false))) {
            snapshot.place(&name, Arc::clone(&other));
            if !fits(request, slot, snapshot) {
                snapshot.remove_pod(&other.uid);
                violations += usize::from(is_protected);
                victims.push(other);
            }
        }
    }
    for other in lower {
        if snapshot.place_of(&other.uid).is_none() {
            snapshot.place(&name, other);
        }
    }
    (helps && !victims.is_empty()).then_some(Candidate {
        slot,
        victims,
        violations,
    })
}

fn fits(request: &Request, slot: Slot, snapshot: &Snapshot) -> bool {
    let state: Option<&NodeState> = snapshot.slots().get(slot);
    state.is_some_and(|state| Decision::new(request, snapshot).refusal(state).is_none())
}

/// The order in which pods are kept: high priority first, then who has run for longest.
fn importance(request: &Arc<Request>) -> (Reverse<i32>, Timestamp, String) {
    let started = started(request).unwrap_or(Timestamp::MAX);
    (Reverse(request.priority), started, request.uid.clone())
}

fn started(request: &Request) -> Option<Timestamp> {
    let status = request.pod.status.as_ref()?;
    status.start_time.as_ref().map(|time| time.0)
}

/// Those whose end some budget does not allow, and the others. Pods that are ending already cost nobody anything.
fn protect(pods: Vec<Arc<Request>>, budgets: &[Budget]) -> (Vec<Arc<Request>>, Vec<Arc<Request>>) {
    let mut left: BTreeMap<usize, i32> = BTreeMap::new();
    let (mut protected, mut free) = (Vec::new(), Vec::new());
    for one in pods {
        let mut is_protected = false;
        if one.pod.metadata.deletion_timestamp.is_none() {
            for (at, budget) in budgets
                .iter()
                .enumerate()
                .filter(|(_, of)| covers(of, &one))
            {
                let left = left.entry(at).or_insert(budget.allowed);
                *left -= 1;
                is_protected |= *left < 0;
            }
        }
        let list = if is_protected {
            &mut protected
        } else {
            &mut free
        };
        list.push(one);
    }
    (protected, free)
}

fn covers(budget: &Budget, request: &Request) -> bool {
    let meta = &request.pod.metadata;
    let labels = meta.labels.as_ref();
    meta.namespace.as_deref() == Some(&budget.namespace)
        && budget
            .selector
            .matches_with(|key| Some(labels?.get(key)?.as_str()))
}

fn cost(candidate: &Candidate) -> Cost {
    let victims = &candidate.victims;
    let highest = victims
        .iter()
        .map(|one| one.priority)
        .max()
        .unwrap_or(i32::MIN);
    let of_highest = victims.iter().filter(|one| one.priority == highest);
    // Priorities may be negative: more victims must not be cheaper for it.
    let sum = victims
        .iter()
        .map(|one| i64::from(one.priority) - i64::from(i32::MIN) + 1)
        .sum();
    Cost {
        violations: candidate.violations,
        highest,
        sum,
        count: victims.len(),
        started: Reverse(of_highest.filter_map(|one| started(one)).min()),
    }
}

#[cfg(test)]
mod tests;
