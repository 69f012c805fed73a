//! A Deployment's status: numbers summed over its ReplicaSets, and how the rollout is going. Computed from what was observed; rules of upstream
//! `deployment/progress.go`, on which `kubectl rollout status` depends.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{bounds::Bounds, sizes::wanted};
use crate::{
    action::Requeue,
    conditions::{self, Condition as _},
    readiness::after,
    replica_set::plan::some,
};

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILING: &str = "ReplicaFailure";
/// The rollout is over.
const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What a status is computed from.
pub struct Facts<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// Its sets, the current one among them.
    pub sets: &'a [&'a Arc<ReplicaSet>],
    /// The set of its template.
    pub current: Option<&'a Arc<ReplicaSet>>,
    /// Its bounds.
    pub bounds: Bounds,
    /// Whether the current set is new to the Deployment: a rollout begins.
    pub begins: bool,
    /// Whether the name of the current set was taken by something else.
    pub collided: bool,
    /// The time.
    pub now: Timestamp,
}

impl Facts<'_> {
    fn spec_is_paused(&self) -> bool {
        self.deployment.spec.paused == Some(true)
    }

    /// The seconds in which there must be progress, if any are given.
    fn deadline(&self) -> Option<i64> {
        let seconds = self.deployment.spec.progress_deadline_seconds?;
        (seconds != i32::MAX).then_some(i64::from(seconds))
    }

    fn was(&self) -> DeploymentStatus {
        self.deployment.status.clone().unwrap_or_default()
    }

    /// What messages call the thing that progresses.
    fn subject(&self) -> String {
        let name = self.deployment.metadata.name.as_deref();
        match self.current {
            Some(set) => format!(
                "ReplicaSet {:?}",
                set.metadata.name.as_deref().unwrap_or_default()
            ),
            None => format!("Deployment {:?}", name.unwrap_or_default()),
        }
    }
}

/// The status while nothing is rolled out: paused, being scaled or being deleted. The conditions of progress stay.
#[must_use]
pub fn standing(facts: &Facts<'_>) -> DeploymentStatus {
    let mut status = numbers(facts);
    paused(facts, &mut status);
    status
}

/// The status in a rollout, and when the deadline for progress should be looked at.
#[must_use]
pub fn rolling(facts: &Facts<'_>) -> (DeploymentStatus, Requeue) {
    let was = facts.was();
    let mut status = numbers(facts);
    paused(facts, &mut status);
    let Some(deadline) = facts.deadline() else {
        conditions::remove(&mut status.conditions, PROGRESSING);
        failures(facts, &mut status);
        return (status, Requeue::OnChange);
    };
    begin(facts, &mut status);
    let before = conditions::get(status.conditions.as_ref(), PROGRESSING).cloned();
    let all_updated = count(status.replicas) == count(status.updated_replicas);
    let is_over = all_updated && before.as_ref().is_some_and(|one| one.reason() == DONE);
    if !is_over {
        let subject = facts.subject();
        let now = facts.now;
        if is_complete(facts, &status) {
            let words = format!("{subject} has successfully progressed.");
            set(&mut status, PROGRESSING, "True", DONE, &words, now);
        } else if has_progressed(&was, &status) {
            let words = format!("{subject} is progressing.");
            let mut new =
                DeploymentCondition::new(PROGRESSING, "True", "ReplicaSetUpdated", &words, now);
            if let Some(before) = before.filter(|before| before.status() == "True") {
                new.set_since(before.since());
            }
            // Set anew each time: the deadline counts from the last progress.
            conditions::remove(&mut status.conditions, PROGRESSING);
            conditions::set(&mut status.conditions, new);
        } else if let Some(at) = times_out(before.as_ref(), deadline)
            && at <= now
        {
            let words = format!("{subject} has timed out progressing.");
            set(&mut status, PROGRESSING, "False", TIMED_OUT, &words, now);
        }
    }
    failures(facts, &mut status);
    let current = conditions::get(status.conditions.as_ref(), PROGRESSING);
    let again = match times_out(current, deadline) {
        Some(at) if !is_complete(facts, &status) => Requeue::At(at),
        _ => Requeue::OnChange,
    };
    (status, again)
}

fn set(
    status: &mut DeploymentStatus,
    of: &str,
    is: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let old = conditions::get(status.conditions.as_ref(), of);
    // Upstream leaves a condition alone when status and reason stay, so that messages name what was first.
    if old.is_some_and(|old| old.status() == is && old.reason() == reason) {
        return;
    }
    let new = DeploymentCondition::new(of, is, reason, message, now);
    conditions::set(&mut status.conditions, new);
}

fn count(number: Option<i32>) -> i32 {
    number.unwrap_or(0)
}

fn numbers(facts: &Facts<'_>) -> DeploymentStatus {
    let statuses = || facts.sets.iter().filter_map(|set| set.status.as_ref());
    let sum = |of: &dyn Fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> i32| {
        statuses().map(of).fold(0, i32::saturating_add)
    };
    let available = sum(&|status| count(status.available_replicas));
    let wanted = facts
        .sets
        .iter()
        .fold(0, |all, set| i32::saturating_add(all, wanted(set)));
    let updated = facts
        .current
        .and_then(|set| Some(set.status.as_ref()?.replicas));
    let was = facts.was();
    let collisions = count(was.collision_count) + i32::from(facts.collided);
    let mut status = DeploymentStatus {
        observed_generation: facts.deployment.metadata.generation,
        replicas: some(sum(&|status| status.replicas)),
        updated_replicas: some(updated.unwrap_or(0)),
        ready_replicas: some(sum(&|status| count(status.ready_replicas))),
        available_replicas: some(available),
        unavailable_replicas: some((wanted - available).max(0)),
        terminating_replicas: Some(sum(&|status| count(status.terminating_replicas))),
        collision_count: was.collision_count.or(some(collisions)).map(|_| collisions),
        conditions: was.conditions,
    };
    let (is, reason, words) = if available >= facts.bounds.least_available() {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    set(&mut status, AVAILABLE, is, reason, words, facts.now);
    status
}

/// Whether the Deployment is paused is shown where progress is, and the deadline does not run meanwhile.
fn paused(facts: &Facts<'_>, status: &mut DeploymentStatus) {
    if facts.deadline().is_none() {
        return;
    }
    let before = conditions::get(status.conditions.as_ref(), PROGRESSING);
    let reason = before.map_or("", |one| one.reason());
    if reason == TIMED_OUT {
        return;
    }
    let (reason, words) = match (facts.spec_is_paused(), reason == PAUSED) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    set(status, PROGRESSING, "Unknown", reason, words, facts.now);
}

/// A rollout that begins is progress; so is a set that was found to be the right one already.
fn begin(facts: &Facts<'_>, status: &mut DeploymentStatus) {
    let Some(current) = facts.current else { return };
    let name = current.metadata.name.as_deref().unwrap_or_default();
    let known = conditions::get(status.conditions.as_ref(), PROGRESSING).is_some();
    let (reason, words) = match (facts.begins, known) {
        (true, _) => (
            "NewReplicaSetCreated",
            format!("Created new replica set {name:?}"),
        ),
        (false, false) => (
            "FoundNewReplicaSet",
            format!("Found new replica set {name:?}"),
        ),
        (false, true) => return,
    };
    set(status, PROGRESSING, "True", reason, &words, facts.now);
}

/// Whether all pods are those of the template, and available.
#[must_use]
pub fn is_complete(facts: &Facts<'_>, status: &DeploymentStatus) -> bool {
    let wanted = facts.bounds.replicas;
    count(status.updated_replicas) == wanted
        && count(status.replicas) == wanted
        && count(status.available_replicas) == wanted
        && status.observed_generation >= facts.deployment.metadata.generation
}

fn has_progressed(was: &DeploymentStatus, is: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(is.updated_replicas) > count(was.updated_replicas)
        || old(is) < old(was)
        || count(is.ready_replicas) > count(was.ready_replicas)
        || count(is.available_replicas) > count(was.available_replicas)
}

/// When the time for progress is up; `None` where no clock runs.
fn times_out(progressing: Option<&DeploymentCondition>, deadline: i64) -> Option<Timestamp> {
    let progressing = progressing?;
    if [DONE, TIMED_OUT, PAUSED].contains(&progressing.reason()) {
        return None;
    }
    let Time(last) = progressing.last_update_time.as_ref()?;
    Some(after(*last, deadline))
}

/// What keeps the sets from making pods is the Deployment's trouble too.
fn failures(facts: &Facts<'_>, status: &mut DeploymentStatus) {
    let of_set = |set: &Arc<ReplicaSet>| {
        let conditions = set.status.as_ref()?.conditions.as_ref();
        conditions::get(conditions, FAILING).cloned()
    };
    let others = || facts.sets.iter().find_map(|set| of_set(set));
    match facts.current.and_then(of_set).or_else(others) {
        Some(failing) => {
            let failing = DeploymentCondition {
                type_: failing.type_,
                status: failing.status,
                reason: failing.reason,
                message: failing.message,
                last_transition_time: failing.last_transition_time.clone(),
                last_update_time: failing.last_transition_time,
            };
            conditions::set(&mut status.conditions, failing);
        }
        None => conditions::remove(&mut status.conditions, FAILING),
    }
}
