//! Namespaces that go away: everything in them is deleted, pods first, and only when the API server itself says that nothing is left the namespace goes
//! too. Rules: upstream `pkg/controller/namespace`, conditions included.

use coracle_api::names::ObjectKey;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use serde_json::json;

use crate::{
    action::{Action, Lookup, Part, Plan, Target, key_of, seen},
    caches::{Caches, Change, Content},
    conditions::{self, Condition as _},
    controller::{Controller, Seen, Watch},
    kind::Kind,
    readiness::after,
};

/// The finalizer in a namespace's spec.
const FINALIZER: &str = "kubernetes";
/// After so many seconds what is left is looked at again, whatever is known. The ends of objects are seen at once; this is for what is not watched.
const AGAIN: i64 = 5;
/// When the ends of all objects have been seen but the API server still shows some, it is asked again after this many milliseconds.
const SETTLE: i64 = 100;

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::NAMESPACE, |change| {
                change
                    .new
                    .map(|one| key_of(one.meta()))
                    .into_iter()
                    .collect()
            }),
            Watch::every(emptying),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let namespace = seen.caches.namespaces.get(key)?;
        Some(plan(namespace, seen))
    }
}

/// The namespace of an object that is gone, if it is being emptied.
fn emptying(change: &Change<'_>) -> Vec<ObjectKey> {
    if change.new.is_some() {
        return Vec::new();
    }
    let namespace = change.old.and_then(|one| one.meta().namespace.as_deref());
    let key = namespace.map(ObjectKey::cluster);
    key.filter(|key| is_terminating(change.caches, key))
        .into_iter()
        .collect()
}

fn is_terminating(caches: &Caches, key: &ObjectKey) -> bool {
    let namespace = caches.namespaces.get(key);
    namespace.is_some_and(|one| one.metadata.deletion_timestamp.is_some())
}

fn plan(namespace: &Namespace, seen_: &Seen<'_>) -> Plan {
    let mut plan = Plan::default();
    let meta = &namespace.metadata;
    let finalizers = namespace
        .spec
        .as_ref()
        .and_then(|spec| spec.finalizers.as_ref());
    let is_held = finalizers.is_some_and(|all| all.iter().any(|one| one == FINALIZER));
    if meta.deletion_timestamp.is_none() || !is_held {
        return plan;
    }
    let target = Target::of(&Kind::NAMESPACE, meta);
    let look = Lookup::Content {
        namespace: target.key.name.clone(),
    };
    let content = seen_.caches.contents.get(&target.key.name);
    let Some(content) = content.filter(|content| content.uid == target.uid) else {
        plan.lookups.push(look);
        return plan;
    };
    let status = status(namespace, content, seen_);
    if content.left.is_empty() && content.failures.is_empty() {
        if let Some(patch) = target.status(meta, namespace.status.as_ref(), &status) {
            plan.act(patch.into());
        }
        let left: Vec<&String> = finalizers
            .into_iter()
            .flatten()
            .filter(|one| *one != FINALIZER)
            .collect();
        plan.act(Action::Patch {
            target,
            seen: seen(meta),
            part: Part::Finalize,
            patch: json!({"spec": {"finalizers": left}}),
        });
        return plan;
    }
    plan.status = target.status(meta, namespace.status.as_ref(), &status);
    empty(&target.key.name, content, seen_, look, &mut plan);
    plan
}

/// Deletes what is left, pods first: what they use stays until they have stopped. Then waits for it to end.
fn empty(name: &str, content: &Content, seen: &Seen<'_>, look: Lookup, plan: &mut Plan) {
    let pods = content.left.values().find(|one| one.kind == Kind::POD);
    let others = content.left.values().filter(|_| pods.is_none());
    let stage: Vec<_> = pods.into_iter().chain(others).collect();
    for left in stage.iter().filter(|one| one.untouched > 0) {
        plan.act(Action::DeleteAll {
            kind: left.kind.clone(),
            namespace: name.to_owned(),
        });
    }
    if !plan.actions.is_empty() {
        plan.lookups.push(look);
        return;
    }
    let graph = &seen.caches.graph;
    let ends_seen = !stage.iter().any(|one| graph.has_any(&one.kind, name));
    let next = if ends_seen {
        let settle = jiff::SignedDuration::from_millis(SETTLE);
        content.at.saturating_add(settle).unwrap_or(seen.now)
    } else {
        after(content.at, AGAIN)
    };
    if next <= seen.now {
        plan.lookups.push(look);
    } else {
        plan.wake(next);
    }
}

fn status(namespace: &Namespace, content: &Content, seen: &Seen<'_>) -> NamespaceStatus {
    let mut status = namespace.status.clone().unwrap_or_default();
    status.phase = Some("Terminating".to_owned());
    let mut set = |of: &str, wrong: bool, reason: &str, message: &str| {
        let is = if wrong { "True" } else { "False" };
        let condition = NamespaceCondition::new(of, is, reason, message, seen.now);
        conditions::set(&mut status.conditions, condition);
    };
    set(
        "NamespaceDeletionDiscoveryFailure",
        false,
        "ResourcesDiscovered",
        "All resources successfully discovered",
    );
    set(
        "NamespaceDeletionGroupVersionParsingFailure",
        false,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    );
    if content.failures.is_empty() {
        set(
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        );
    } else {
        let message = format!(
            "Failed to delete all resource types, {} remaining: {}",
            content.failures.len(),
            content.failures.join(", ")
        );
        set(
            "NamespaceDeletionContentFailure",
            true,
            "ContentDeletionFailed",
            &message,
        );
    }
    let remaining: Vec<String> = content
        .left
        .iter()
        .map(|(resource, left)| format!("{resource} has {} resource instances", left.count))
        .collect();
    if remaining.is_empty() {
        set(
            "NamespaceContentRemaining",
            false,
            "ContentRemoved",
            "All content successfully removed",
        );
    } else {
        let message = format!("Some resources are remaining: {}", remaining.join(", "));
        set(
            "NamespaceContentRemaining",
            true,
            "SomeResourcesRemain",
            &message,
        );
    }
    let mut finalizers = std::collections::BTreeMap::<&str, usize>::new();
    for (name, count) in content.left.values().flat_map(|left| &left.finalizers) {
        *finalizers.entry(name).or_default() += count;
    }
    if finalizers.is_empty() {
        set(
            "NamespaceFinalizersRemaining",
            false,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        );
    } else {
        let list: Vec<String> = finalizers
            .iter()
            .map(|(name, count)| format!("{name} in {count} resource instances"))
            .collect();
        let message = format!(
            "Some content in the namespace has finalizers remaining: {}",
            list.join(", ")
        );
        set(
            "NamespaceFinalizersRemaining",
            true,
            "SomeFinalizersRemain",
            &message,
        );
    }
    status
}

#[cfg(test)]
mod tests;
