//! Deployments: ReplicaSets in succession. [`plan`] decides the next step, from [`bounds`], [`sizes`] and [`revision`]; [`status`] tells how it goes.

pub mod bounds;
pub mod plan;
pub mod revision;
pub mod sizes;
pub mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use coracle_api::{names::ObjectKey, pods, selector::LabelSelector};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};

use crate::{
    action::{Plan, key_of},
    caches::{Change, Object},
    controller::{Controller, Seen, Watch},
    kind::Kind,
    ownership::controller_key,
};
use plan::Observed;

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::DEPLOYMENT, |change| {
                change
                    .both()
                    .take(1)
                    .map(|one| key_of(one.meta()))
                    .collect()
            }),
            Watch::of(Kind::REPLICA_SET, owners),
            Watch::of(Kind::POD, recreating),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let deployment = seen.caches.deployments.get(key)?;
        let uid = deployment.metadata.uid.as_deref()?;
        let namespace = key.namespace.as_deref()?;
        let sets = &seen.caches.replica_sets;
        let pods_of =
            |uid: &str| -> Vec<&Arc<Pod>> { seen.caches.pods.controlled_by(uid).collect() };
        let observed = Observed {
            deployment,
            controlled: sets.controlled_by(uid).collect(),
            orphans: sets.orphans_in(namespace).collect(),
            named: &|name| sets.get(&ObjectKey::namespaced(namespace, name)),
            pods_of: &pods_of,
            now: seen.now,
        };
        Some(plan::plan(&observed))
    }
}

/// The Deployments a changed set belongs to, belonged to or could belong to.
fn owners(change: &Change<'_>) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = change
        .both()
        .filter_map(|set| controller_key(set.meta(), &Kind::DEPLOYMENT))
        .collect();
    keys.dedup();
    if let Some(Object::ReplicaSet(set)) = change.new
        && pods::controller_ref(&set.metadata).is_none()
    {
        keys.extend(selecting(change, set));
    }
    keys
}

fn selecting(change: &Change<'_>, set: &ReplicaSet) -> Vec<ObjectKey> {
    let labels = set.metadata.labels.as_ref();
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let deployments = change.caches.deployments.in_namespace(namespace);
    deployments
        .filter(|one| {
            LabelSelector::from_meta(&one.spec.selector).is_ok_and(|selector| {
                !selector.is_empty()
                    && selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
            })
        })
        .map(|one| key_of(&one.metadata))
        .collect()
}

/// A pod that is over lets a Deployment go on that waits for the last one.
fn recreating(change: &Change<'_>) -> Vec<ObjectKey> {
    let Some(Object::Pod(pod)) = change.old else {
        return Vec::new();
    };
    let is_over = match change.new {
        Some(Object::Pod(pod)) => pods::is_terminal(pod),
        _ => true,
    };
    let owner = || {
        let set = controller_key(&pod.metadata, &Kind::REPLICA_SET)?;
        let set = change.caches.replica_sets.get(&set)?;
        let key = controller_key(&set.metadata, &Kind::DEPLOYMENT)?;
        let deployment = change.caches.deployments.get(&key)?;
        (!bounds::is_rolling(&deployment.spec)).then_some(key)
    };
    is_over.then(owner).flatten().into_iter().collect()
}
