//! StatefulSets: pods with names and volumes of their own, made and ended in order. [`identity`] says what belongs to a pod, [`plan`] what is next,
//! [`claims`] which volumes there are to be.

pub mod claims;
pub mod identity;
pub mod plan;

#[cfg(test)]
mod tests;

use coracle_api::{names::ObjectKey, pods::controller_ref};

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
pub struct StatefulSets;

impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::STATEFUL_SET, |change| {
                let one = change.both().take(1);
                one.map(|one| key_of(one.meta())).collect()
            }),
            Watch::of(Kind::CONTROLLER_REVISION, |change| {
                let keys = change.both();
                keys.filter_map(|one| controller_key(one.meta(), &Kind::STATEFUL_SET))
                    .collect()
            }),
            Watch::of(Kind::POD, owners),
            Watch::of(Kind::CLAIM, of_claim),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let caches = seen.caches;
        let set = caches.stateful_sets.get(key)?;
        let uid = set.metadata.uid.as_deref()?;
        let namespace = key.namespace.as_deref()?;
        let at = |name: &str| ObjectKey::namespaced(namespace, name);
        let observed = Observed {
            set,
            controlled: caches.pods.controlled_by(uid).collect(),
            orphans: caches.pods.orphans_in(namespace).collect(),
            pod: &|name| caches.pods.get(&at(name)),
            claim: &|name| caches.claims.get(&at(name)),
            revisions: caches.revisions.controlled_by(uid).collect(),
            revision_taken: &|name| caches.revisions.get(&at(name)).is_some(),
            now: seen.now,
        };
        Some(plan::plan(&observed))
    }
}

/// The sets a changed pod belongs to, belonged to, could belong to or has the name of a pod of.
fn owners(change: &Change<'_>) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = change
        .both()
        .filter_map(|pod| controller_key(pod.meta(), &Kind::STATEFUL_SET))
        .collect();
    let changed = change.both().next().map(Object::meta);
    if let Some(meta) = changed
        && let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name)
        && let Some((set, _)) = identity::parse(name)
    {
        let key = ObjectKey::namespaced(namespace, set);
        let is_known = change.caches.stateful_sets.get(&key).is_some();
        let is_free = change
            .new
            .is_none_or(|one| controller_ref(one.meta()).is_none());
        if is_known && is_free {
            keys.push(key);
        }
    }
    keys.dedup();
    keys
}

/// The set that a claim is made for, by its name: `TEMPLATE-SET-ORDINAL`.
fn of_claim(change: &Change<'_>) -> Vec<ObjectKey> {
    let Some(meta) = change.both().next().map(Object::meta) else {
        return Vec::new();
    };
    let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
        return Vec::new();
    };
    let Some((stem, _)) = identity::parse(name) else {
        return Vec::new();
    };
    let sets = change.caches.stateful_sets.in_namespace(namespace);
    let of_set = sets.filter(|set| claims::is_stem_of(stem, set));
    of_set.map(|set| key_of(&set.metadata)).collect()
}
