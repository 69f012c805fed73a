//! Counts a Job's pods so that none is counted twice and none is lost. A pod that has ended keeps a finalizer until its uid is in the Job's status;
//! only then the finalizer goes, and only when it is gone (or the pod is) the uid becomes part of the number. Every step is a write with a
//! precondition, so that it can be interrupted anywhere. Upstream: KEP-2307.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coracle_api::pods;
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus, UncountedTerminatedPods},
    core::v1::Pod,
};

use super::indexes::{self, Indexes};

/// The finalizer on a Job's pods.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// So many pods are taken into the status at once: the status stays small. Upstream's number.
const UNCOUNTED_LIMIT: usize = 500;

/// The state of the count.
#[derive(Debug, Default)]
pub struct Tally<'a> {
    /// Pods that have succeeded, counted or not.
    pub succeeded: i32,
    /// Pods that have failed, counted or not.
    pub failed: i32,
    /// The indexes that have succeeded, in Indexed Jobs.
    pub indexes: Indexes,
    /// Whether nothing is left to be counted.
    pub settled: bool,
    /// Pods whose finalizer may go now.
    pub release: Vec<&'a Arc<Pod>>,
    /// What the status is to say.
    pub counted_succeeded: i32,
    /// What the status is to say.
    pub counted_failed: i32,
    /// What the status is to say.
    pub uncounted: UncountedTerminatedPods,
}

/// Whether a pod still has to be counted.
#[must_use]
pub fn is_tracked(pod: &Pod) -> bool {
    let finalizers = pod.metadata.finalizers.iter().flatten();
    finalizers.into_iter().any(|one| one == FINALIZER)
}

/// How a pod ended, for its Job; `None` while it may still go on. A pod that is being deleted counts as failed unless the Job waits for the end of its
/// pods before it replaces them: nobody may be left to tell how it ended.
#[must_use]
pub fn outcome(pod: &Pod, waits_for_end: bool) -> Option<Outcome> {
    let deleted = pod.metadata.deletion_timestamp.is_some();
    match pods::phase(pod) {
        "Succeeded" => Some(Outcome::Succeeded),
        "Failed" => Some(Outcome::Failed),
        _ if deleted && !waits_for_end => Some(Outcome::Failed),
        _ => None,
    }
}

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Succeeded,
    /// Not as it should.
    Failed,
}

/// Whether a Job replaces pods only once they have ended.
#[must_use]
pub fn waits_for_end(job: &Job) -> bool {
    let spec = job.spec.as_ref();
    spec.and_then(|spec| spec.pod_replacement_policy.as_deref()) == Some("Failed")
}

/// Counts. `completions` is set for Indexed Jobs, where every index counts once.
#[must_use]
pub fn take<'a>(job: &Job, pods: &[&'a Arc<Pod>], completions: Option<u32>) -> Tally<'a> {
    let status = job.status.clone().unwrap_or_default();
    let noted = Noted::of(&status);
    let tracked: BTreeMap<&str, &Arc<Pod>> = pods
        .iter()
        .filter(|pod| is_tracked(pod))
        .filter_map(|pod| Some((pod.metadata.uid.as_deref()?, *pod)))
        .collect();
    let mut tally = Tally {
        counted_succeeded: status.succeeded.unwrap_or(0),
        counted_failed: status.failed.unwrap_or(0),
        ..Tally::default()
    };
    let of_text = status.completed_indexes.as_deref().unwrap_or_default();
    if let Some(completions) = completions {
        tally.indexes = Indexes::parse(of_text, completions);
    }
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    // What was noted before: still held by its pod, or part of the number from now on.
    for (uids, kept, counted) in [
        (
            &noted.succeeded,
            &mut succeeded,
            &mut tally.counted_succeeded,
        ),
        (&noted.failed, &mut failed, &mut tally.counted_failed),
    ] {
        for uid in uids {
            match tracked.get(uid.as_str()) {
                Some(pod) => {
                    kept.push(uid.clone());
                    tally.release.push(*pod);
                }
                None => *counted += 1,
            }
        }
    }
    // What has ended since.
    let waits = waits_for_end(job);
    let (mut pending_succeeded, mut pending_failed) = (0, 0);
    for (uid, pod) in tracked {
        if noted.succeeded.contains(uid) || noted.failed.contains(uid) {
            continue;
        }
        let room = succeeded.len() + failed.len() < UNCOUNTED_LIMIT;
        match outcome(pod, waits) {
            Some(Outcome::Succeeded) => {
                if let (Some(index), Some(completions)) = (indexes::of(pod), completions)
                    && index < completions
                {
                    tally.indexes.insert(index);
                }
                if room {
                    succeeded.push(uid.to_owned());
                } else {
                    pending_succeeded += 1;
                }
            }
            Some(Outcome::Failed) if room => failed.push(uid.to_owned()),
            Some(Outcome::Failed) => pending_failed += 1,
            None => {}
        }
    }
    let n = crate::replica_set::plan::n;
    tally.failed = tally.counted_failed + n(failed.len()) + pending_failed;
    tally.succeeded = tally.counted_succeeded + n(succeeded.len()) + pending_succeeded;
    if completions.is_some() {
        // An index that two pods finished has succeeded once.
        tally.succeeded = n(tally.indexes.len());
        tally.counted_succeeded = tally.succeeded;
    }
    tally.settled =
        succeeded.is_empty() && failed.is_empty() && pending_succeeded + pending_failed == 0;
    let list = |uids: Vec<String>| (!uids.is_empty()).then_some(uids);
    tally.uncounted = UncountedTerminatedPods {
        succeeded: list(succeeded),
        failed: list(failed),
    };
    tally
}

/// The uids in the status.
struct Noted {
    succeeded: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl Noted {
    fn of(status: &JobStatus) -> Self {
        let uids = |of: fn(&UncountedTerminatedPods) -> &Option<Vec<String>>| {
            let noted = status.uncounted_terminated_pods.as_ref();
            let uids = noted.and_then(|noted| of(noted).clone());
            uids.unwrap_or_default().into_iter().collect()
        };
        Self {
            succeeded: uids(|noted| &noted.succeeded),
            failed: uids(|noted| &noted.failed),
        }
    }
}
