//! Whether there is enough of every resource, how much would be left, and how evenly it would be used (upstream: `NodeResourcesFit` with `LeastAllocated`,
//! `NodeResourcesBalancedAllocation`).

use super::BEST;
use crate::{
    request::Request,
    resources::{Common, Resources},
    snapshot::NodeState,
};

/// What there is too little of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lack<'a> {
    cpu: bool,
    memory: bool,
    pods: bool,
    others: Vec<&'a str>,
    /// Whether there would be too little even if the node were empty.
    pub is_hopeless: bool,
}

impl Lack<'_> {
    /// What is told of it.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let common = [
            (self.cpu, "Insufficient cpu"),
            (self.memory, "Insufficient memory"),
            (self.pods, "Too many pods"),
        ];
        let common = common.into_iter().filter(|(is, _)| *is);
        let common = common.map(|(_, told)| told.to_owned());
        let others = self
            .others
            .iter()
            .map(|name| format!("Insufficient {name}"));
        common.chain(others).collect()
    }
}

/// What there is too little of for a pod, beside the pods on the node and those of no lower priority that have been promised a place there.
#[must_use]
pub fn lack<'a>(request: &'a Request, state: &NodeState) -> Option<Lack<'a>> {
    let mut promised = state
        .nominated
        .values()
        .filter(|other| other.priority >= request.priority && other.uid != request.uid)
        .peekable();
    if promised.peek().is_none() {
        return compare(&request.resources, &state.requested, state);
    }
    let mut taken = state.requested.clone();
    for other in promised {
        taken.add(&other.resources);
    }
    compare(&request.resources, &taken, state)
}

fn compare<'a>(wanted: &'a Resources, taken: &Resources, state: &NodeState) -> Option<Lack<'a>> {
    let all = &state.allocatable;
    let short =
        |wanted: i64, taken: i64, all: i64| wanted > 0 && wanted > all.saturating_sub(taken);
    let (w, t, a) = (&wanted.common, &taken.common, &all.common);
    let cpu = short(w.cpu, t.cpu, a.cpu);
    let memory = short(w.memory, t.memory, a.memory);
    let pods = short(w.pods, t.pods, a.pods);
    let others: Vec<&str> = wanted
        .others()
        .filter(|(name, amount)| short(*amount, taken.get(name), all.get(name)))
        .map(|(name, _)| name)
        .collect();
    if !cpu && !memory && !pods && others.is_empty() {
        return None;
    }
    let over = |wanted: i64, all: i64| wanted > 0 && wanted > all;
    let is_hopeless = over(w.cpu, a.cpu)
        || over(w.memory, a.memory)
        || over(w.pods, a.pods)
        || wanted
            .others()
            .any(|(name, amount)| over(amount, all.get(name)));
    Some(Lack {
        cpu,
        memory,
        pods,
        others,
        is_hopeless,
    })
}

/// The hundredths of CPU and memory that would be in use.
fn used(request: &Request, state: &NodeState) -> (i64, i64) {
    let mut after: Common = state.weighed;
    after.add(&request.weighed);
    let all = &state.allocatable.common;
    let part = |used: i64, all: i64| {
        let part = used.saturating_mul(BEST).checked_div(all);
        part.unwrap_or(BEST).clamp(0, BEST)
    };
    (part(after.cpu, all.cpu), part(after.memory, all.memory))
}

/// The part that would be left, 0 to [`BEST`].
#[must_use]
pub fn free(request: &Request, state: &NodeState) -> i64 {
    let (cpu, memory) = used(request, state);
    BEST - (cpu + memory) / 2
}

/// How evenly CPU and memory would be used, 0 to [`BEST`].
#[must_use]
pub fn balance(request: &Request, state: &NodeState) -> i64 {
    let (cpu, memory) = used(request, state);
    BEST - (cpu - memory).abs() / 2
}
