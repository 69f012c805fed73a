//! DaemonSets: a pod on every node that the set selects. [`eligible`] says which nodes those are, [`plan`] what is next.

pub mod eligible;
pub mod plan;

#[cfg(test)]
mod tests;

use coracle_api::{names::ObjectKey, pods::controller_ref, selector::LabelSelector};
use k8s_openapi::api::core::v1::Node;

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
pub struct DaemonSets;

impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::DAEMON_SET, |change| {
                let one = change.both().take(1);
                one.map(|one| key_of(one.meta())).collect()
            }),
            Watch::of(Kind::CONTROLLER_REVISION, |change| {
                let keys = change.both();
                keys.filter_map(|one| controller_key(one.meta(), &Kind::DAEMON_SET))
                    .collect()
            }),
            Watch::of(Kind::POD, owners),
            Watch::of(Kind::NODE, all),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let caches = seen.caches;
        let set = caches.daemon_sets.get(key)?;
        let uid = set.metadata.uid.as_deref()?;
        let namespace = key.namespace.as_deref()?;
        let at = |name: &str| ObjectKey::namespaced(namespace, name);
        let observed = Observed {
            set,
            nodes: caches.nodes.iter().collect(),
            controlled: caches.pods.controlled_by(uid).collect(),
            orphans: caches.pods.orphans_in(namespace).collect(),
            taken: &|name| caches.pods.get(&at(name)).is_some(),
            revisions: caches.revisions.controlled_by(uid).collect(),
            revision_taken: &|name| caches.revisions.get(&at(name)).is_some(),
            now: seen.now,
        };
        Some(plan::plan(&observed))
    }
}

/// The sets a changed pod belongs to, belonged to or could belong to.
fn owners(change: &Change<'_>) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = change
        .both()
        .filter_map(|pod| controller_key(pod.meta(), &Kind::DAEMON_SET))
        .collect();
    keys.dedup();
    if let Some(Object::Pod(pod)) = change.new
        && controller_ref(&pod.metadata).is_none()
        && let Some(namespace) = &pod.metadata.namespace
    {
        let labels = pod.metadata.labels.as_ref();
        let sets = change.caches.daemon_sets.in_namespace(namespace);
        let selecting = sets.filter(|set| {
            LabelSelector::from_meta(&set.spec.selector).is_ok_and(|selector| {
                !selector.is_empty()
                    && selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
            })
        });
        keys.extend(selecting.map(|set| key_of(&set.metadata)));
    }
    keys
}

/// All sets, where a node changed in what they select by.
fn all(change: &Change<'_>) -> Vec<ObjectKey> {
    let node = |one: Option<&Object>| match one {
        Some(Object::Node(node)) => Some(marks(node)),
        _ => None,
    };
    if node(change.old) == node(change.new) {
        return Vec::new();
    }
    change.caches.daemon_sets.keys().cloned().collect()
}

/// What of a node a set selects it by.
fn marks(node: &Node) -> impl PartialEq + use<> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
    let meta = &node.metadata;
    (
        meta.name.clone(),
        meta.labels.clone(),
        taints,
        meta.deletion_timestamp.is_some(),
    )
}
