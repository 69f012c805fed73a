//! How and when a Job ends. First it is decided that it ends (`SuccessCriteriaMet`, `FailureTarget`), then its pods end and are counted, and only then it
//! is `Complete` or `Failed`, for good.

use coracle_api::pods;
use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::{JobCondition, JobStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::plan::Work;
use crate::{
    action::{Note, Severity, Target},
    conditions::{self, Condition as _},
    readiness::{after, container_statuses},
};

/// How a Job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All it was to do is done.
    Complete,
    /// It gives up.
    Failed {
        /// The machine's word for why.
        reason: String,
        /// The words for people.
        message: String,
    },
}

const CRITERIA_MET: &str = "SuccessCriteriaMet";
const FAILURE_TARGET: &str = "FailureTarget";
const REACHED: &str = "CompletionsReached";
const REACHED_WORDS: &str = "Reached expected number of succeeded pods";

/// Decides whether the Job ends. What was decided once stays.
#[must_use]
pub(super) fn decide(work: &Work<'_>) -> Option<End> {
    let status = work.observed.job.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    if let Some(target) = conditions::get(conditions, FAILURE_TARGET)
        && target.status() == "True"
    {
        return Some(End::Failed {
            reason: target.reason().to_owned(),
            message: target.message().to_owned(),
        });
    }
    if conditions::is_true(conditions, CRITERIA_MET) {
        return Some(End::Complete);
    }
    let failed = |reason: &str, message: &str| {
        Some(End::Failed {
            reason: reason.to_owned(),
            message: message.to_owned(),
        })
    };
    let limit = work.spec.backoff_limit.unwrap_or(6);
    if work.tally.failed > limit || restarted_too_often(work, limit) {
        return failed(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        );
    }
    if is_too_late(work) {
        return failed(
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        );
    }
    let reached = match work.spec.completions {
        Some(completions) => work.tally.succeeded >= completions,
        // A queue of work: the first pod to succeed found it empty.
        None => work.tally.succeeded > 0,
    };
    (reached && work.active.is_empty() && !work.is_suspended()).then_some(End::Complete)
}

/// Whether containers that restart in place did so more often than failures are allowed.
fn restarted_too_often(work: &Work<'_>, limit: i32) -> bool {
    let template = work.spec.template.spec.as_ref();
    let policy = template.and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let running = work
        .pods
        .iter()
        .filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
    let restarts = running
        .flat_map(|pod| container_statuses(pod))
        .fold(0, |sum, status| {
            i32::saturating_add(sum, status.restart_count)
        });
    if limit == 0 {
        restarts > 0
    } else {
        restarts >= limit
    }
}

fn is_too_late(work: &Work<'_>) -> bool {
    let status = work.observed.job.status.as_ref();
    let started = status.and_then(|status| status.start_time.as_ref());
    match (started, work.spec.active_deadline_seconds) {
        (Some(started), Some(seconds)) if !work.is_suspended() => {
            after(started.0, seconds) <= work.observed.now
        }
        _ => false,
    }
}

/// Writes down how the Job ends, and, once everything is `settled`, that it has.
pub(super) fn record(end: &End, settled: bool, now: Timestamp, status: &mut JobStatus) {
    let (first, last, reason, message) = match end {
        End::Complete => (CRITERIA_MET, "Complete", REACHED, REACHED_WORDS),
        End::Failed { reason, message } => {
            (FAILURE_TARGET, "Failed", reason.as_str(), message.as_str())
        }
    };
    let condition = |of| JobCondition::new(of, "True", reason, message, now);
    conditions::set(&mut status.conditions, condition(first));
    if settled {
        conditions::set(&mut status.conditions, condition(last));
        if *end == End::Complete {
            status.completion_time = Some(Time(now));
        }
    }
}

/// What users hear of it.
#[must_use]
pub(super) fn note(end: &End, job: &Target) -> Note {
    match end {
        End::Complete => job.note(Severity::Normal, "Completed", "Job completed".to_owned()),
        End::Failed { reason, message } => {
            job.note(Severity::Warning, reason.clone(), message.clone())
        }
    }
}
