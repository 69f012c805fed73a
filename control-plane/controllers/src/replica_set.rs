//! ReplicaSets: keep so many pods of one template. What it does about them is in [`plan`], which pods go first in [`victims`].

pub mod plan;
pub mod victims;

#[cfg(test)]
mod tests;

use coracle_api::names::ObjectKey;

use crate::{
    action::{Plan, Target, key_of},
    caches::{Change, Object},
    controller::{Controller, Seen, Watch},
    kind::Kind,
    ownership::controller_key,
};
use plan::Observed;

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::REPLICA_SET, |change| {
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
        let set = seen.caches.replica_sets.get(key)?;
        let uid = set.metadata.uid.as_deref()?;
        let namespace = key.namespace.as_deref()?;
        let pods = &seen.caches.pods;
        let siblings = coracle_api::pods::controller_ref(&set.metadata)
            .map(|owner| owner.uid.as_str())
            .into_iter()
            .flat_map(|owner| seen.caches.replica_sets.controlled_by(owner))
            .filter_map(|set| set.metadata.uid.as_deref())
            .filter(|sibling| *sibling != uid);
        let observed = Observed {
            set,
            controlled: pods.controlled_by(uid).collect(),
            orphans: pods.orphans_in(namespace).collect(),
            related: siblings
                .flat_map(|sibling| pods.controlled_by(sibling))
                .collect(),
            taken: &|name| pods.get(&ObjectKey::namespaced(namespace, name)).is_some(),
            failure: seen.failure,
            now: seen.now,
        };
        Some(plan::plan(&observed))
    }
}

/// The sets a changed pod belongs to, belonged to or could belong to.
fn owners(change: &Change<'_>) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = change
        .both()
        .filter_map(|pod| controller_key(pod.meta(), &Kind::REPLICA_SET))
        .collect();
    keys.dedup();
    if let Some(Object::Pod(pod)) = change.new
        && coracle_api::pods::controller_ref(&pod.metadata).is_none()
        && pod.metadata.deletion_timestamp.is_none()
        && let Some(namespace) = &pod.metadata.namespace
    {
        let labels = pod.metadata.labels.as_ref();
        let sets = change.caches.replica_sets.in_namespace(namespace);
        let selecting = sets.filter(|set| {
            plan::selector(set).is_some_and(|selector| {
                selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
            })
        });
        keys.extend(selecting.map(|set| key_of(&set.metadata)));
    }
    keys
}

/// The ReplicaSet as a target.
#[must_use]
pub fn target(set: &k8s_openapi::api::apps::v1::ReplicaSet) -> Target {
    Target::of(&Kind::REPLICA_SET, &set.metadata)
}
