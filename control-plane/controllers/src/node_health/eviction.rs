//! Removes pods that do not tolerate the `NoExecute` taints of their node, at once or after the time they tolerate them. Rules: upstream
//! `pkg/controller/tainteviction`; the time counts from when the taint was added, so that a restart of the controller gives no extra time.

use std::sync::Arc;

use coracle_api::{names::ObjectKey, pods};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use serde_json::json;

use crate::{
    action::{Action, Part, Plan, Propagation, Severity, Step, Target, key_of, seen},
    caches::{Change, Object, on_node},
    conditions::{self, Condition as _},
    controller::{Controller, Seen, Watch},
    kind::Kind,
    readiness::after,
};

/// The controller. Keys are nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaintEviction;

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::NODE, |change| {
                let tainted = change.new.filter(|one| match one {
                    Object::Node(node) => evicting(node).next().is_some(),
                    _ => false,
                });
                tainted.map(|one| key_of(one.meta())).into_iter().collect()
            }),
            Watch::of(Kind::POD, bound),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let node = seen.caches.nodes.get(key)?;
        let pods = seen.caches.pods.tagged(&on_node(&key.name));
        Some(plan(node, pods, seen.now))
    }
}

/// The node a pod is on, if that evicts pods.
fn bound(change: &Change<'_>) -> Vec<ObjectKey> {
    let Some(Object::Pod(pod)) = change.new else {
        return Vec::new();
    };
    let key = pods::node_name(pod).map(ObjectKey::cluster);
    let evicts = |key: &ObjectKey| {
        let node = change.caches.nodes.get(key);
        node.is_some_and(|node| evicting(node).next().is_some())
    };
    key.filter(evicts).into_iter().collect()
}

fn evicting(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints
        .into_iter()
        .flatten()
        .filter(|taint| taint.effect == "NoExecute")
}

/// Decides.
#[must_use]
pub fn plan<'a>(node: &Node, pods: impl IntoIterator<Item = &'a Arc<Pod>>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let taints: Vec<&Taint> = evicting(node).collect();
    if taints.is_empty() {
        return plan;
    }
    for pod in pods {
        if pod.metadata.deletion_timestamp.is_some() || pods::is_terminal(pod) {
            continue;
        }
        match leaves(pod, &taints, now) {
            Some(at) if at <= now => evict(pod, now, &mut plan),
            Some(at) => plan.wake(at),
            None => {}
        }
    }
    plan
}

/// When the pod has to leave; `None`: it may stay.
fn leaves(pod: &Pod, taints: &[&Taint], now: Timestamp) -> Option<Timestamp> {
    let spec = pod.spec.as_ref()?;
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let mut leaves: Option<Timestamp> = None;
    for taint in taints {
        let added = taint.time_added.as_ref().map_or(now, |time| time.0);
        // The first that is about the taint counts; no time means for ever.
        let Some(used) = tolerations.iter().find(|one| tolerates(one, taint)) else {
            return Some(now);
        };
        if let Some(seconds) = used.toleration_seconds {
            let at = after(added, seconds.max(0));
            leaves = Some(leaves.map_or(at, |earlier| earlier.min(at)));
        }
    }
    leaves
}

/// Whether a toleration is about a taint (core/v1, `Toleration`).
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    let value = text(&toleration.value);
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && value == text(&taint.value),
        _ => false,
    }
}

fn evict(pod: &Pod, now: Timestamp, plan: &mut Plan) {
    let target = Target::of(&Kind::POD, &pod.metadata);
    let mut status = pod.status.clone().unwrap_or_default();
    let condition = PodCondition::new(
        "DisruptionTarget",
        "True",
        "DeletionByTaintManager",
        "Taint manager: deleting due to NoExecute taint",
        now,
    );
    conditions::set(&mut status.conditions, condition);
    plan.act(Action::Patch {
        target: target.clone(),
        seen: seen(&pod.metadata),
        part: Part::Status,
        patch: json!({"status": {"conditions": status.conditions}}),
    });
    let namespace = target.key.namespace.as_deref().unwrap_or_default();
    let words = format!("Marking for deletion Pod {namespace}/{}", target.key.name);
    let note = target.note(Severity::Normal, "TaintManagerEviction", words);
    plan.actions.push(Step {
        action: Action::Delete {
            target,
            seen: None,
            propagation: Propagation::Background,
            grace: None,
        },
        success: Some(note),
        failure: None,
    });
}
