//! Decides what brings a ReplicaSet closer to its number of pods. Rules: upstream `pkg/controller/replicaset`.

use std::sync::Arc;

use coracle_api::{pods, selector::LabelSelector};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
    core::v1::Pod,
};

use super::{target, victims};
use crate::{
    action::{Action, BURST, Plan, Propagation, Severity, Step, Target},
    conditions::{self, Condition as _},
    controller::{Failure, Verb},
    kind::Kind,
    naming::Namer,
    ownership::claim,
    readiness, template,
};

/// What is known of a ReplicaSet.
pub struct Observed<'a> {
    /// The set.
    pub set: &'a ReplicaSet,
    /// The pods it controls.
    pub controlled: Vec<&'a Arc<Pod>>,
    /// The pods of its namespace that nobody controls.
    pub orphans: Vec<&'a Arc<Pod>>,
    /// The pods of other sets of the same owner: pods go first where more of them are on the node.
    pub related: Vec<&'a Arc<Pod>>,
    /// Whether there is a pod of this name in the namespace.
    pub taken: &'a dyn Fn(&str) -> bool,
    /// What went wrong last time.
    pub failure: Option<&'a Failure>,
    /// The time.
    pub now: Timestamp,
}

/// What the set selects; `None` for a selector that cannot be read, which validation prevents.
#[must_use]
pub fn selector(set: &ReplicaSet) -> Option<LabelSelector> {
    LabelSelector::from_meta(&set.spec.selector)
        .ok()
        .filter(|selector| !selector.is_empty())
}

/// Decides.
///
/// # Guarantees
/// Only pods that the set controls are deleted, only pods that nobody controls are adopted, and at most [`BURST`] pods are made or deleted.
#[must_use]
pub fn plan(observed: &Observed<'_>) -> Plan {
    let set = observed.set;
    let owner = target(set);
    let mut plan = Plan::default();
    let Some(selector) = selector(set) else {
        return plan;
    };
    let controlled = observed.controlled.iter().copied();
    let orphans = observed.orphans.iter().copied();
    let claimed = claim(
        &owner,
        &set.metadata,
        &selector,
        controlled.filter(|pod| pods::is_active(pod)),
        orphans.filter(|pod| pods::is_active(pod)),
    );
    if !claimed.claims.is_empty() {
        for action in claimed.claims {
            plan.act(action);
        }
        return plan;
    }
    let own = claimed.own;
    if set.metadata.deletion_timestamp.is_none() {
        plan.actions = manage(observed, &owner, &own);
    }
    let status = status(observed, &own);
    plan.status = owner.status(&set.metadata, set.status.as_ref(), &status);
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let soon = own
        .iter()
        .filter_map(|pod| readiness::available_at(pod, min_ready))
        .filter(|at| *at > observed.now);
    if let Some(at) = soon.min() {
        plan.wake(at);
    }
    plan
}

/// Makes or deletes pods until there are as many as wanted.
fn manage(observed: &Observed<'_>, owner: &Target, own: &[&Arc<Pod>]) -> Vec<Step> {
    let wanted = usize::try_from(observed.set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    if own.len() < wanted {
        let missing = (wanted - own.len()).min(BURST);
        return create(observed, owner, missing);
    }
    let surplus = (own.len() - wanted).min(BURST);
    let all: Vec<&Arc<Pod>> = own.iter().chain(&observed.related).copied().collect();
    victims::choose(own, &all, surplus, observed.now)
        .into_iter()
        .map(|pod| delete_pod(owner, pod))
        .collect()
}

fn create(observed: &Observed<'_>, owner: &Target, count: usize) -> Vec<Step> {
    let set = observed.set;
    let Some(of) = &set.spec.template else {
        return Vec::new();
    };
    let version = set.metadata.resource_version.as_deref().unwrap_or_default();
    let mut namer = Namer::new(&format!("{}-", owner.key.name), &[&owner.uid, version]);
    (0..count)
        .map(|_| {
            let name = namer.next(observed.taken);
            create_pod(owner, template::pod(of, owner, namer.base(), &name), &name)
        })
        .collect()
}

/// Makes a pod for its owner, with upstream's events.
pub(crate) fn create_pod(owner: &Target, object: serde_json::Value, name: &str) -> Step {
    let create = Action::Create {
        kind: Kind::POD,
        object,
    };
    create.telling(
        owner.note(
            Severity::Normal,
            "SuccessfulCreate",
            format!("Created pod: {name}"),
        ),
        owner.note(
            Severity::Warning,
            "FailedCreate",
            "Error creating".to_owned(),
        ),
    )
}

/// Deletes a pod of its owner's, with upstream's events.
pub(crate) fn delete_pod(owner: &Target, pod: &Pod) -> Step {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let delete = Action::Delete {
        target: Target::of(&Kind::POD, &pod.metadata),
        seen: None,
        propagation: Propagation::Background,
        grace: None,
    };
    delete.telling(
        owner.note(
            Severity::Normal,
            "SuccessfulDelete",
            format!("Deleted pod: {name}"),
        ),
        owner.note(
            Severity::Warning,
            "FailedDelete",
            "Error deleting".to_owned(),
        ),
    )
}

fn status(observed: &Observed<'_>, own: &[&Arc<Pod>]) -> ReplicaSetStatus {
    let set = observed.set;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let labels = set
        .spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let fully_labelled = |pod: &Pod| {
        let has = |(key, value): (&String, &String)| {
            let own = pod.metadata.labels.as_ref();
            own.and_then(|own| own.get(key)) == Some(value)
        };
        labels.into_iter().flatten().all(has)
    };
    let terminating =
        |pod: &Pod| pod.metadata.deletion_timestamp.is_some() && !pods::is_terminal(pod);
    let mut conditions = set
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone());
    match observed.failure {
        Some(failure) if failure.kind == Kind::POD => {
            let reason = match failure.verb {
                Verb::Create => "FailedCreate",
                Verb::Delete | Verb::Patch => "FailedDelete",
            };
            conditions::set(
                &mut conditions,
                ReplicaSetCondition::new(
                    "ReplicaFailure",
                    "True",
                    reason,
                    &failure.message,
                    observed.now,
                ),
            );
        }
        _ => conditions::remove(&mut conditions, "ReplicaFailure"),
    }
    let count = |of: &dyn Fn(&Pod) -> bool| n(own.iter().filter(|pod| of(pod)).count());
    let ending = observed.controlled.iter().filter(|pod| terminating(pod));
    ReplicaSetStatus {
        replicas: n(own.len()),
        fully_labeled_replicas: some(count(&fully_labelled)),
        ready_replicas: some(count(&pods::is_ready)),
        available_replicas: some(count(&|pod| {
            readiness::is_available(pod, min_ready, observed.now)
        })),
        terminating_replicas: Some(n(ending.count())),
        observed_generation: set.metadata.generation,
        conditions,
    }
}

/// A number of objects as the API has it.
pub(crate) fn n(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Zero is left out, as upstream does where the field may be.
pub(crate) fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
