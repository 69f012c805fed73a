//! How and when a Job ends. First it is decided that it ends (`SuccessCriteriaMet`, `FailureTarget`), then its pods end and are counted, and only then it
//! is `Complete` or `Failed`, for good.

use coracle_api::pods;
use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::{JobCondition, JobStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{plan::Work, success};
use crate::{
    action::{Note, Severity, Target},
    conditions::{self, Condition as _},
    readiness::{after, container_statuses},
};

/// How a Job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All it was to do is done.
    Complete {
        /// The machine's word for how.
        reason: String,
        /// The words for people.
        message: String,
    },
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
    if let Some(met) = conditions::get(conditions, CRITERIA_MET)
        && met.status() == "True"
    {
        return Some(complete(met.reason(), met.message()));
    }
    let failed = |reason: &str, message: &str| {
        Some(End::Failed {
            reason: reason.to_owned(),
            message: message.to_owned(),
        })
    };
    if let Some(why) = &work.tally.fails_job {
        return failed("PodFailurePolicy", why);
    }
    let limit = work.spec.backoff_limit.unwrap_or(default_limit(work));
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
    if let Some(rule) = success::met(work) {
        let words = format!("Matched rules at index {rule}");
        return Some(complete("SuccessPolicy", &words));
    }
    if let Some(end) = failed_indexes(work) {
        return Some(end);
    }
    let reached = match work.spec.completions {
        Some(completions) => work.tally.succeeded >= completions,
        // A queue of work: the first pod to succeed found it empty.
        None => work.tally.succeeded > 0,
    };
    (reached && work.active.is_empty() && !work.is_suspended())
        .then(|| complete(REACHED, REACHED_WORDS))
}

fn complete(reason: &str, message: &str) -> End {
    End::Complete {
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// Failures are not limited as a whole where they are by index.
fn default_limit(work: &Work<'_>) -> i32 {
    work.spec.backoff_limit_per_index.map_or(6, |_| i32::MAX)
}

/// Whether the Job ends because of indexes that have failed: too many of them, or all others are done.
fn failed_indexes(work: &Work<'_>) -> Option<End> {
    let completions = work.indexed()?;
    work.spec.backoff_limit_per_index?;
    let failed = work.tally.failed_indexes.len();
    let end = |reason: &str, message: &str| {
        Some(End::Failed {
            reason: reason.to_owned(),
            message: message.to_owned(),
        })
    };
    let most = work.spec.max_failed_indexes;
    let most = most.map(|most| usize::try_from(most).unwrap_or(0));
    if most.is_some_and(|most| failed > most) {
        return end(
            "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes",
        );
    }
    let done = failed + work.tally.indexes.len();
    let all = usize::try_from(completions).unwrap_or(usize::MAX);
    if failed > 0 && done >= all && work.active.is_empty() {
        return end("FailedIndexes", "Job has failed indexes");
    }
    None
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
    let conditions = status.and_then(|status| status.conditions.as_ref());
    if conditions::is_true(conditions, "Suspended") {
        // Its time starts anew when it goes on.
        return false;
    }
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
        End::Complete { reason, message } => {
            (CRITERIA_MET, "Complete", reason.as_str(), message.as_str())
        }
        End::Failed { reason, message } => {
            (FAILURE_TARGET, "Failed", reason.as_str(), message.as_str())
        }
    };
    let condition = |of| JobCondition::new(of, "True", reason, message, now);
    conditions::set(&mut status.conditions, condition(first));
    if settled {
        conditions::set(&mut status.conditions, condition(last));
        if matches!(end, End::Complete { .. }) {
            status.completion_time = Some(Time(now));
        }
    }
}

/// What users hear of it.
#[must_use]
pub(super) fn note(end: &End, job: &Target) -> Note {
    match end {
        End::Complete { .. } => job.note(Severity::Normal, "Completed", "Job completed".to_owned()),
        End::Failed { reason, message } => {
            job.note(Severity::Warning, reason.clone(), message.clone())
        }
    }
}
