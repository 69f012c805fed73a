//! Makes and removes a Job's pods: as many at once as its parallelism says, and in Indexed Jobs one per index.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coracle_api::pods;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{
    backoff,
    failures::{self, FAILURES, IGNORED, Verdict},
    indexes::{self, INDEX},
    plan::Work,
    tally::{self, FINALIZER},
};
use crate::{
    action::{BURST, Plan},
    kind::Kind,
    naming::Namer,
    ownership::without_finalizer,
    replica_set::{
        plan::{create_pod, delete_pod, n},
        victims,
    },
    template,
};

/// The variable in which a pod's containers find their index.
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// Brings the number of active pods to what is wanted.
pub(super) fn manage(work: &Work<'_>, plan: &mut Plan) {
    let active = n(work.active.len());
    let mut doomed: Vec<&Arc<Pod>> = Vec::new();
    let wanted = if work.is_suspended() {
        0
    } else {
        wanted(work, active)
    };
    if work.indexed().is_some() {
        doomed = superfluous(work);
    }
    let kept = active - n(doomed.len());
    if kept > wanted {
        let surplus = usize::try_from(kept - wanted).unwrap_or(0);
        doomed.extend(surplus_pods(work, &doomed, surplus));
    }
    for pod in doomed.iter().take(BURST) {
        remove(work, pod, plan);
    }
    if !doomed.is_empty() || kept >= wanted {
        return;
    }
    let mut missing = usize::try_from(wanted - kept).unwrap_or(0);
    if tally::waits_for_end(work.observed.job) {
        missing = missing.saturating_sub(work.terminating);
    }
    let by_index = work.spec.backoff_limit_per_index.is_some();
    let must_wait = !by_index && backoff::until(work).is_some_and(|at| at > work.observed.now);
    if !must_wait {
        create(work, missing.min(BURST), plan);
    }
}

/// How many pods are to be active.
fn wanted(work: &Work<'_>, active: i32) -> i32 {
    let parallelism = work.spec.parallelism.unwrap_or(1).max(0);
    match work.spec.completions {
        None if work.tally.succeeded > 0 => active.min(parallelism),
        None => parallelism,
        Some(completions) => {
            let left = (completions - work.tally.succeeded).max(0);
            left.min(parallelism)
        }
    }
}

/// Takes a pod away that is not needed: it is not a failure and so not to be counted.
fn remove(work: &Work<'_>, pod: &Arc<Pod>, plan: &mut Plan) {
    if tally::is_tracked(pod) {
        plan.act(without_finalizer(&Kind::POD, &pod.metadata, FINALIZER));
    }
    plan.actions.push(delete_pod(&work.owner, pod));
}

/// Pods whose index nobody needs: done already, out of range, or another pod's too.
fn superfluous<'a>(work: &Work<'a>) -> Vec<&'a Arc<Pod>> {
    let completions = work.indexed().unwrap_or(0);
    let mut by_index: BTreeMap<u32, Vec<&Arc<Pod>>> = BTreeMap::new();
    let mut doomed = Vec::new();
    for pod in &work.active {
        match indexes::of(pod) {
            Some(index)
                if index < completions
                    && !work.tally.indexes.contains(index)
                    && !work.tally.failed_indexes.contains(index) =>
            {
                by_index.entry(index).or_default().push(pod);
            }
            _ => doomed.push(*pod),
        }
    }
    for pods in by_index.values().filter(|pods| pods.len() > 1) {
        doomed.extend(victims::choose(
            pods,
            pods,
            pods.len() - 1,
            work.observed.now,
        ));
    }
    doomed
}

fn surplus_pods<'a>(work: &Work<'a>, doomed: &[&'a Arc<Pod>], surplus: usize) -> Vec<&'a Arc<Pod>> {
    let is_doomed = |pod: &&Arc<Pod>| doomed.iter().any(|one| Arc::ptr_eq(one, pod));
    let mut left: Vec<&Arc<Pod>> = work
        .active
        .iter()
        .copied()
        .filter(|pod| !is_doomed(pod))
        .collect();
    if work.indexed().is_some() {
        // The highest indexes go first.
        left.sort_by_key(|pod| std::cmp::Reverse(indexes::of(pod)));
        left.truncate(surplus);
        return left;
    }
    victims::choose(&left, &left, surplus, work.observed.now)
}

fn create(work: &Work<'_>, count: usize, plan: &mut Plan) {
    let job = work.observed.job;
    let name = &work.owner.key.name;
    let version = job.metadata.resource_version.as_deref().unwrap_or_default();
    let seed = [work.owner.uid.as_str(), version];
    let Some(completions) = work.indexed() else {
        let mut namer = Namer::new(&format!("{name}-"), &seed);
        for _ in 0..count {
            let name = namer.next(work.observed.taken);
            let pod = pod(work, namer.base(), &name, None);
            plan.actions.push(create_pod(&work.owner, pod, &name));
        }
        return;
    };
    let busy: BTreeSet<u32> = work
        .pods
        .iter()
        .filter(|pod| holds_index(work, pod))
        .filter_map(|pod| indexes::of(pod))
        .collect();
    let by_index = work.spec.backoff_limit_per_index.is_some();
    let must_wait = |index: u32| {
        let until = backoff::until_of_index(work, index).filter(|_| by_index);
        until.is_some_and(|at| at > work.observed.now)
    };
    let free = (0..completions).filter(|index| {
        let is_over = |done: &indexes::Indexes| done.contains(*index);
        !is_over(&work.tally.indexes)
            && !is_over(&work.tally.failed_indexes)
            && !busy.contains(index)
            && !must_wait(*index)
    });
    for index in free.take(count) {
        let mut namer = Namer::new(&format!("{name}-{index}-"), &seed);
        let name = namer.next(work.observed.taken);
        let pod = pod(work, namer.base(), &name, Some(index));
        plan.actions.push(create_pod(&work.owner, pod, &name));
    }
}

/// Whether no other pod may have this pod's index yet.
fn holds_index(work: &Work<'_>, pod: &Pod) -> bool {
    let ends = pod.metadata.deletion_timestamp.is_some() && !pods::is_terminal(pod);
    pods::is_active(pod) || (ends && tally::waits_for_end(work.observed.job))
}

/// A pod of the Job.
fn pod(work: &Work<'_>, base: &str, name: &str, index: Option<u32>) -> Value {
    let mut template = work.spec.template.clone();
    let metadata = template.metadata.get_or_insert_default();
    let finalizers = metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|one| one == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    if let Some(index) = index {
        for map in [&mut metadata.annotations, &mut metadata.labels] {
            map.get_or_insert_default()
                .insert(INDEX.to_owned(), index.to_string());
        }
        if work.spec.backoff_limit_per_index.is_some() {
            let failed = failed_before(work, index);
            let annotations = metadata.annotations.get_or_insert_default();
            for (which, count) in failed {
                annotations.insert(which.to_owned(), count.to_string());
            }
        }
        if let Some(spec) = &mut template.spec {
            let job = &work.owner.key.name;
            spec.hostname = Some(format!("{job}-{index}"));
        }
    }
    let mut pod = template::pod(&template, &work.owner, base, name);
    if index.is_some() {
        for field in ["containers", "initContainers"] {
            let containers = pod
                .pointer_mut(&format!("/spec/{field}"))
                .and_then(Value::as_array_mut);
            containers.into_iter().flatten().for_each(tell_index);
        }
    }
    pod
}

/// How many pods of an index have failed, counted and not.
fn failed_before(work: &Work<'_>, index: u32) -> [(&'static str, i32); 2] {
    let (mut counted, mut ignored) = (0, 0);
    for pod in &work.pods {
        let waits = tally::waits_for_end(work.observed.job);
        let failed = tally::outcome(pod, waits) == Some(tally::Outcome::Failed);
        if indexes::of(pod) != Some(index) || !failed {
            continue;
        }
        let is_ignored = failures::judge(work.spec, pod) == Verdict::Ignored;
        let one = |which, more| failures::before(pod, which) + i32::from(more);
        counted = counted.max(one(FAILURES, !is_ignored));
        ignored = ignored.max(one(IGNORED, is_ignored));
    }
    [(FAILURES, counted), (IGNORED, ignored)]
}

/// Gives a container the variable with its pod's index, unless the user uses that name.
fn tell_index(container: &mut Value) {
    let Some(container) = container.as_object_mut() else {
        return;
    };
    let variables = container.entry("env").or_insert_with(|| json!([]));
    let Some(variables) = variables.as_array_mut() else {
        return;
    };
    if variables
        .iter()
        .any(|one| one.get("name") == Some(&json!(VARIABLE)))
    {
        return;
    }
    let path = format!("metadata.labels['{INDEX}']");
    variables.push(
        json!({"name": VARIABLE, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}),
    );
}
