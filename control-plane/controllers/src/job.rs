//! Jobs: pods that run until enough of them have succeeded. [`plan`] decides, [`tally`] counts, [`failures`] says what a failed pod means, [`populate`]
//! makes and removes pods, [`ending`] says how it ends. [`expiry`] removes Jobs that have been over for as long as their TTL says.

mod backoff;
mod ending;
pub mod expiry;
mod failures;
pub mod indexes;
pub mod plan;
mod populate;
mod success;
pub mod tally;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use coracle_api::{names::ObjectKey, pods, selector::LabelSelector};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};

use crate::{
    action::{Plan, key_of},
    caches::{Caches, Change, Object},
    controller::{Controller, Seen, Watch},
    kind::Kind,
    ownership::controller_key,
};
use plan::Observed;

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jobs;

/// The label with the name of a pod's Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// This controller, for Jobs that say who runs them.
const MANAGER: &str = "kubernetes.io/job-controller";

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::JOB, |change| {
                change
                    .both()
                    .take(1)
                    .map(|one| key_of(one.meta()))
                    .collect()
            }),
            Watch::of(Kind::POD, owners),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let namespace = key.namespace.as_deref()?;
        let pods = &seen.caches.pods;
        let mut plan = Plan::default();
        plan::release(abandoned(key, namespace, seen.caches), &mut plan);
        let job = seen.caches.jobs.get(key);
        if job.is_some_and(|job| !is_managed(job)) {
            return Some(Plan::default());
        }
        let Some(job) = job.filter(|_| plan.actions.is_empty()) else {
            return (!plan.actions.is_empty()).then_some(plan);
        };
        let uid = job.metadata.uid.as_deref()?;
        let observed = Observed {
            job,
            controlled: pods.controlled_by(uid).collect(),
            orphans: pods.orphans_in(namespace).collect(),
            taken: &|name| pods.get(&ObjectKey::namespaced(namespace, name)).is_some(),
            now: seen.now,
        };
        Some(plan::plan(&observed))
    }
}

/// Whether the Job is this controller's to run and nobody else's.
fn is_managed(job: &Job) -> bool {
    let manager = job
        .spec
        .as_ref()
        .and_then(|spec| spec.managed_by.as_deref());
    manager.is_none_or(|manager| manager == MANAGER)
}

/// The pods that wait to be counted by a Job of this name that is no more, or that has let them go: nobody else would free them.
fn abandoned<'a>(key: &'a ObjectKey, namespace: &'a str, caches: &'a Caches) -> Vec<&'a Arc<Pod>> {
    let job = caches.jobs.get(key);
    let uid = job.and_then(|job| job.metadata.uid.as_deref());
    let of_name = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(JOB_NAME)) == Some(&key.name)
    };
    let let_go = |pod: &&Arc<Pod>| {
        // A Job that still selects the pod adopts it.
        of_name(pod) && !job.is_some_and(|job| selects(job, pod))
    };
    let mut found: Vec<&Arc<Pod>> = caches.pods.orphans_in(namespace).filter(let_go).collect();
    if uid.is_none() {
        // Rare: the Job has just gone.
        let mine =
            |pod: &&Arc<Pod>| controller_key(&pod.metadata, &Kind::JOB).as_ref() == Some(key);
        found.extend(caches.pods.in_namespace(namespace).filter(mine));
    }
    found.retain(|pod| tally::is_tracked(pod));
    found
}

/// The Jobs a changed pod belongs to, belonged to or could belong to.
fn owners(change: &Change<'_>) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = change
        .both()
        .filter_map(|pod| controller_key(pod.meta(), &Kind::JOB))
        .collect();
    keys.dedup();
    if let Some(Object::Pod(pod)) = change.new
        && pods::controller_ref(&pod.metadata).is_none()
        && let Some(namespace) = &pod.metadata.namespace
    {
        let jobs = change.caches.jobs.in_namespace(namespace);
        let selecting = jobs.filter(|job| selects(job, pod));
        keys.extend(selecting.map(|job| key_of(&job.metadata)));
        let of_label = pod
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(JOB_NAME));
        if let Some(name) = of_label.filter(|_| tally::is_tracked(pod)) {
            keys.push(ObjectKey::namespaced(namespace, name));
        }
    }
    keys
}

fn selects(job: &Job, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector
        .and_then(|selector| LabelSelector::from_meta(selector).ok())
        .is_some_and(|selector| {
            !selector.is_empty() && selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
        })
}
