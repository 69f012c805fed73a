//! Decides the next step of a Job: pods to make and to remove, pods to count, and how the Job ended. Rules: upstream `pkg/controller/job`.

use std::sync::Arc;

use coracle_api::{pods, selector::LabelSelector};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    backoff,
    ending::{self, End},
    populate,
    tally::{self, FINALIZER, Tally},
};
use crate::{
    action::{BURST, Note, Plan, Severity, Step, Target},
    conditions::{self, Condition as _},
    kind::Kind,
    ownership::{claim, without_finalizer},
    readiness::after,
    replica_set::plan::{delete_pod, n, some},
};

/// What is known of a Job.
pub struct Observed<'a> {
    /// The Job.
    pub job: &'a Job,
    /// The pods it controls.
    pub controlled: Vec<&'a Arc<Pod>>,
    /// The pods of its namespace that nobody controls.
    pub orphans: Vec<&'a Arc<Pod>>,
    /// Whether there is a pod of this name in the namespace.
    pub taken: &'a dyn Fn(&str) -> bool,
    /// The time.
    pub now: Timestamp,
}

/// A Job with what follows from its pods.
pub(super) struct Work<'a> {
    pub observed: &'a Observed<'a>,
    pub spec: &'a JobSpec,
    pub owner: Target,
    pub pods: Vec<&'a Arc<Pod>>,
    pub active: Vec<&'a Arc<Pod>>,
    pub terminating: usize,
    pub tally: Tally<'a>,
}

impl Work<'_> {
    /// The number of completions, in Indexed Jobs.
    pub fn indexed(&self) -> Option<u32> {
        indexed(self.spec)
    }

    pub fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }
}

fn indexed(spec: &JobSpec) -> Option<u32> {
    let is_indexed = spec.completion_mode.as_deref() == Some("Indexed");
    let completions = spec.completions.and_then(|count| u32::try_from(count).ok());
    completions.filter(|_| is_indexed)
}

/// Whether the Job is over.
#[must_use]
pub fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|one| one.conditions.as_ref());
    conditions::is_true(conditions, "Complete") || conditions::is_true(conditions, "Failed")
}

/// Decides.
///
/// # Guarantees
/// Every pod that ended is counted once, whatever is interrupted and however often it is executed.
#[must_use]
pub fn plan<'a>(observed: &'a Observed<'a>) -> Plan {
    let job = observed.job;
    let owner = Target::of(&Kind::JOB, &job.metadata);
    let mut plan = Plan::default();
    if is_finished(job) {
        release(observed.controlled.iter().copied(), &mut plan);
        return plan;
    }
    let Some(spec) = &job.spec else { return plan };
    let selector = spec.selector.as_ref().map(LabelSelector::from_meta);
    let Some(Ok(selector)) = selector else {
        return plan;
    };
    let claimed = claim(
        &owner,
        &job.metadata,
        &selector,
        observed.controlled.iter().copied(),
        observed.orphans.iter().copied(),
    );
    if !claimed.claims.is_empty() {
        for action in claimed.claims {
            plan.act(action);
        }
        return plan;
    }
    let pods = claimed.own;
    let ends =
        |pod: &&&Arc<Pod>| pod.metadata.deletion_timestamp.is_some() && !pods::is_terminal(pod);
    let work = Work {
        observed,
        spec,
        owner,
        active: pods
            .iter()
            .copied()
            .filter(|pod| pods::is_active(pod))
            .collect(),
        terminating: pods.iter().filter(ends).count(),
        tally: tally::take(job, &pods, indexed(spec)),
        pods,
    };
    decide(&work, plan)
}

/// Takes the finalizer off all pods that still have it.
pub(super) fn release<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>, plan: &mut Plan) {
    for pod in pods.into_iter().filter(|pod| tally::is_tracked(pod)) {
        plan.act(without_finalizer(&Kind::POD, &pod.metadata, FINALIZER));
    }
}

fn decide(work: &Work<'_>, mut plan: Plan) -> Plan {
    let end = ending::decide(work);
    release(work.tally.release.iter().copied(), &mut plan);
    if end.is_some() {
        release(work.tally.delayed.iter().copied(), &mut plan);
    }
    let deleting = work.observed.job.metadata.deletion_timestamp.is_some();
    match &end {
        Some(_) => {
            let doomed = work.active.iter().take(BURST);
            plan.actions
                .extend(doomed.map(|pod| delete_pod(&work.owner, pod)));
        }
        None if deleting => {}
        None => populate::manage(work, &mut plan),
    }
    let (status, notes) = status(work, end.as_ref());
    if let (Some(started), Some(seconds)) = (&status.start_time, work.spec.active_deadline_seconds)
        && end.is_none()
        && !work.is_suspended()
    {
        plan.wake(after(started.0, seconds));
    }
    let job = work.observed.job;
    let patch = work
        .owner
        .status(&job.metadata, job.status.as_ref(), &status);
    match (patch, notes.is_empty()) {
        (Some(patch), false) => {
            // Told once the status says it, and so only once.
            let mut notes = notes.into_iter();
            plan.actions.push(Step {
                action: patch.into(),
                success: notes.next(),
                failure: None,
            });
        }
        (patch, _) => plan.status = patch,
    }
    if let Some(at) = backoff::next(work)
        && end.is_none()
    {
        plan.wake(at);
    }
    plan
}

/// The status, and what its change is worth telling.
fn status(work: &Work<'_>, end: Option<&End>) -> (JobStatus, Vec<Note>) {
    let now = work.observed.now;
    let tally = &work.tally;
    let mut status = work.observed.job.status.clone().unwrap_or_default();
    let mut notes = Vec::new();
    status.active = some(n(work.active.len()));
    status.ready = Some(n(work
        .active
        .iter()
        .filter(|pod| pods::is_ready(pod))
        .count()));
    status.terminating = Some(n(work.terminating));
    status.succeeded = some(tally.counted_succeeded);
    status.failed = some(tally.counted_failed);
    status.uncounted_terminated_pods = Some(tally.uncounted.clone());
    status.completed_indexes = work
        .indexed()
        .filter(|_| !tally.indexes.is_empty())
        .map(|_| tally.indexes.to_string());
    status.failed_indexes = work
        .indexed()
        .filter(|_| work.spec.backoff_limit_per_index.is_some())
        .map(|_| tally.failed_indexes.to_string());
    if status.start_time.is_none() && !work.is_suspended() {
        status.start_time = Some(Time(now));
    }
    suspension(work, &mut status, &mut notes);
    if let Some(end) = end {
        let settled = work.active.is_empty() && work.terminating == 0 && tally.settled;
        ending::record(end, settled, now, &mut status);
        if settled {
            notes.push(ending::note(end, &work.owner));
        }
    }
    (status, notes)
}

/// The condition of a Job that is held, or was.
fn suspension(work: &Work<'_>, status: &mut JobStatus, notes: &mut Vec<Note>) {
    const SUSPENDED: &str = "Suspended";
    let now = work.observed.now;
    let was = conditions::get(status.conditions.as_ref(), SUSPENDED).map(|one| one.status());
    let (is, reason, words, told) = match (work.is_suspended(), was) {
        (true, None | Some("False" | "Unknown")) => {
            ("True", "JobSuspended", "Job suspended", "Suspended")
        }
        (false, Some("True")) => {
            // The deadline counts from the resumption.
            status.start_time = Some(Time(now));
            ("False", "JobResumed", "Job resumed", "Resumed")
        }
        _ => return,
    };
    let condition = JobCondition::new(SUSPENDED, is, reason, words, now);
    conditions::set(&mut status.conditions, condition);
    let note = work.owner.note(Severity::Normal, told, words.to_owned());
    notes.push(note);
}
