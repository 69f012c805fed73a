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

use super::{
    failures::{self, Verdict},
    indexes::{self, Indexes},
};

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
    /// The indexes that have failed, in Jobs that limit failures by index.
    pub failed_indexes: Indexes,
    /// Why the Job has failed, where its policy says so of a pod.
    pub fails_job: Option<String>,
    /// Whether nothing is left to be counted.
    pub settled: bool,
    /// Pods whose finalizer may go now.
    pub release: Vec<&'a Arc<Pod>>,
    /// Pods whose finalizer may go once there is another pod for their index, or the Job ends: they remember how often the index has failed.
    pub delayed: Vec<&'a Arc<Pod>>,
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
    job.spec.as_ref().is_some_and(|spec| {
        // What a policy says of a pod depends on how it ended.
        spec.pod_replacement_policy.as_deref() == Some("Failed")
            || spec.pod_failure_policy.is_some()
    })
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
    if let Some(completions) = completions {
        tally.read_indexes(job, &status, &tracked, completions);
    }
    let of_open_index: BTreeSet<&str> = tracked
        .iter()
        .filter(|(_, pod)| tally.holds(job, pod, pods, completions))
        .map(|(uid, _)| *uid)
        .collect();
    let holds = |pod: &Pod| {
        let uid = pod.metadata.uid.as_deref();
        uid.is_some_and(|uid| of_open_index.contains(uid))
    };
    let (mut release, mut delayed) = (Vec::new(), Vec::new());
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    // What was noted before: still held by its pod, or part of the number from now on.
    let (mut counted_succeeded, mut counted_failed) = (0, 0);
    for (uids, kept, counted) in [
        (&noted.succeeded, &mut succeeded, &mut counted_succeeded),
        (&noted.failed, &mut failed, &mut counted_failed),
    ] {
        for uid in uids {
            match tracked.get(uid.as_str()) {
                Some(pod) => {
                    kept.push(uid.clone());
                    let list = if holds(pod) {
                        &mut delayed
                    } else {
                        &mut release
                    };
                    list.push(*pod);
                }
                None => *counted += 1,
            }
        }
    }
    tally.counted_succeeded += counted_succeeded;
    tally.counted_failed += counted_failed;
    // What has ended since.
    let waits = waits_for_end(job);
    let (mut pending_succeeded, mut pending_failed) = (0, 0);
    for (uid, pod) in tracked {
        if noted.succeeded.contains(uid) || noted.failed.contains(uid) {
            continue;
        }
        let room = succeeded.len() + failed.len() < UNCOUNTED_LIMIT;
        match outcome(pod, waits) {
            Some(Outcome::Succeeded) if room => succeeded.push(uid.to_owned()),
            Some(Outcome::Succeeded) => pending_succeeded += 1,
            Some(Outcome::Failed) => match verdict(job, pod) {
                // It leaves no trace.
                Verdict::Ignored if !holds(pod) => release.push(pod),
                Verdict::Ignored => delayed.push(pod),
                verdict => {
                    if let Verdict::FailsJob(why) = verdict {
                        tally.fails_job.get_or_insert(why);
                    }
                    if room {
                        failed.push(uid.to_owned());
                    } else {
                        pending_failed += 1;
                    }
                }
            },
            None => {}
        }
    }
    (tally.release, tally.delayed) = (release, delayed);
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

fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let spec = job.spec.as_ref();
    spec.map_or(Verdict::Counts, |spec| failures::judge(spec, pod))
}

impl Tally<'_> {
    /// The indexes that have succeeded and failed: those in the status, and those of pods that have ended since.
    fn read_indexes(
        &mut self,
        job: &Job,
        status: &JobStatus,
        tracked: &BTreeMap<&str, &Arc<Pod>>,
        completions: u32,
    ) {
        let read = |text: &Option<String>| {
            Indexes::parse(text.as_deref().unwrap_or_default(), completions)
        };
        self.indexes = read(&status.completed_indexes);
        self.failed_indexes = read(&status.failed_indexes);
        let waits = waits_for_end(job);
        let of_pods = tracked.values().filter_map(|pod| {
            let index = indexes::of(pod).filter(|index| *index < completions)?;
            Some((*pod, index, outcome(pod, waits)?))
        });
        let mut failed = Vec::new();
        for (pod, index, outcome) in of_pods {
            match outcome {
                Outcome::Succeeded => self.indexes.insert(index),
                Outcome::Failed => failed.push((pod, index)),
            }
        }
        let spec = job.spec.as_ref();
        for (pod, index) in failed {
            let is_over = spec.is_some_and(|spec| failures::ends_index(spec, pod));
            if is_over && !self.indexes.contains(index) {
                self.failed_indexes.insert(index);
            }
        }
    }

    /// Whether a pod, if it has failed, must stay until there is another for its index.
    fn holds(&self, job: &Job, pod: &Pod, all: &[&Arc<Pod>], completions: Option<u32>) -> bool {
        let spec = job.spec.as_ref();
        let by_index = spec.is_some_and(|spec| spec.backoff_limit_per_index.is_some());
        let index = indexes::of(pod).filter(|index| completions.is_some_and(|all| *index < all));
        let Some(index) = index.filter(|_| by_index) else {
            return false;
        };
        let is_open = !self.indexes.contains(index) && !self.failed_indexes.contains(index);
        let mut others = all.iter().filter(|other| pods::is_active(other));
        is_open && !others.any(|other| indexes::of(other) == Some(index))
    }
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
