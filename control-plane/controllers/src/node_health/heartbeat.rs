//! Decides whether a node is alive, by when its Lease or its status last changed on our clock (the node's own clock may be anywhere), and marks it
//! with conditions and taints. Rules: upstream `pkg/controller/nodelifecycle`.

use std::sync::Arc;

use coracle_api::{names::ObjectKey, pods};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Pod, PodCondition, Taint},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::json;

use super::{NOT_READY, Settings, UNREACHABLE};
use crate::{
    action::{Action, Part, Plan, Severity, Step, Target, key_of, seen},
    caches::{Change, Object, on_node},
    conditions::{self, Condition as _},
    controller::{Controller, Seen, Watch},
    kind::Kind,
    memory::{Heartbeat, Memory},
    merge,
    readiness::{after, ready_since},
};

/// The namespace of the nodes' Leases.
const LEASES: &str = "kube-node-lease";
/// The conditions a node answers for, and that are unknown when it is silent.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Conditions that keep new pods away: the condition, when, the taint.
const PRESSURES: [(&str, &str, &str); 4] = [
    (
        "MemoryPressure",
        "True",
        "node.kubernetes.io/memory-pressure",
    ),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "True",
        "node.kubernetes.io/network-unavailable",
    ),
];
/// The taint of cordoned nodes.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The controller. Keys are nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeHealth {
    /// How long is how long.
    pub settings: Settings,
}

impl Controller for NodeHealth {
    fn name(&self) -> &'static str {
        "node-lifecycle-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::NODE, nodes),
            Watch::of(Kind::LEASE, |change| {
                let lease = change.new.map(|one| one.meta());
                let lease = lease.filter(|meta| meta.namespace.as_deref() == Some(LEASES));
                let name = lease.and_then(|meta| meta.name.as_deref());
                name.map(ObjectKey::cluster).into_iter().collect()
            }),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let node = seen.caches.nodes.get(key)?;
        let lease = ObjectKey::namespaced(LEASES, &key.name);
        let observed = Observed {
            node,
            lease: seen.caches.leases.get(&lease),
            pods: seen.caches.pods.tagged(&on_node(&key.name)).collect(),
            others_ready: seen
                .caches
                .nodes
                .iter()
                .any(|other| key_of(&other.metadata) != *key && ready(other) == "True"),
            last: match seen.memory {
                Memory::Heartbeat(last) => Some(*last),
                _ => None,
            },
            now: seen.now,
        };
        Some(plan(&observed, self.settings))
    }
}

/// The node, and all of them when it became ready or ceased to be: whether pods are evicted depends on whether there is anywhere else.
fn nodes(change: &Change<'_>) -> Vec<ObjectKey> {
    let state = |one: Option<&Object>| match one {
        Some(Object::Node(node)) => ready(node) == "True",
        _ => false,
    };
    if state(change.old) == state(change.new) {
        return change
            .new
            .map(|one| key_of(one.meta()))
            .into_iter()
            .collect();
    }
    change.caches.nodes.keys().cloned().collect()
}

/// What is known of a node.
pub struct Observed<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its Lease.
    pub lease: Option<&'a Arc<Lease>>,
    /// The pods bound to it.
    pub pods: Vec<&'a Arc<Pod>>,
    /// Whether any other node is ready.
    pub others_ready: bool,
    /// Its last sign of life that was known at the last plan.
    pub last: Option<Heartbeat>,
    /// The time.
    pub now: Timestamp,
}

/// What a node's `Ready` condition says.
#[must_use]
pub fn ready(node: &Node) -> &str {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions::get(conditions, "Ready").map_or("", |ready| ready.status())
}

/// Decides.
#[must_use]
pub fn plan(observed: &Observed<'_>, settings: Settings) -> Plan {
    let mut plan = Plan::default();
    let node = observed.node;
    let heartbeat = heartbeat(observed);
    plan.memory = Some(Memory::Heartbeat(heartbeat));
    let told = heartbeat.told.is_some();
    let grace = if told {
        settings.grace
    } else {
        settings.startup_grace
    };
    let silent_at = after(heartbeat.heard, grace);
    let silent = silent_at <= observed.now;
    let target = Target::of(&Kind::NODE, &node.metadata);
    if silent {
        conditions_of_silence(observed, &target, told, &mut plan);
    } else {
        plan.wake(silent_at);
    }
    // What follows from the conditions is decided once they are stored.
    if plan.actions.is_empty() {
        taints(observed, &target, &mut plan);
        if !matches!(ready(node), "True" | "") {
            mark_pods(observed, &mut plan);
        }
    }
    plan
}

/// The node's newest sign of life, on our clock.
fn heartbeat(observed: &Observed<'_>) -> Heartbeat {
    let renewed = observed
        .lease
        .and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref())
        .map(|time| time.0);
    let status = observed.node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let told = conditions
        .into_iter()
        .flatten()
        .filter_map(|one| one.last_heartbeat_time.as_ref())
        .map(|time| time.0);
    let told = renewed.into_iter().chain(told).max();
    match observed.last {
        Some(last) if last.told == told => last,
        _ => Heartbeat {
            told,
            heard: observed.now,
        },
    }
}

/// Nobody knows any more how a silent node is.
fn conditions_of_silence(observed: &Observed<'_>, target: &Target, told: bool, plan: &mut Plan) {
    let node = observed.node;
    let mut status = node.status.clone().unwrap_or_default();
    let (reason, message) = if told {
        ("NodeStatusUnknown", "Kubelet stopped posting node status.")
    } else {
        (
            "NodeStatusNeverUpdated",
            "Kubelet never posted node status.",
        )
    };
    for of in CONDITIONS {
        let old = conditions::get(status.conditions.as_ref(), of);
        if old.is_some_and(|old| old.status() == "Unknown") {
            continue;
        }
        let mut condition = NodeCondition::new(of, "Unknown", reason, message, observed.now);
        condition.last_heartbeat_time = old.and_then(|old| old.last_heartbeat_time.clone());
        conditions::set(&mut status.conditions, condition);
    }
    let was_ready = ready(node) == "True";
    let name = &target.key.name;
    let words = format!("Node {name} status is now: NodeNotReady");
    let note = target.note(Severity::Normal, "NodeNotReady", words);
    if let Some(patch) = target.status(&node.metadata, node.status.as_ref(), &status) {
        plan.actions.push(Step {
            action: patch.into(),
            success: was_ready.then_some(note),
            failure: None,
        });
    }
}

/// Marks the node so that the scheduler and the eviction of pods see how it is.
fn taints(observed: &Observed<'_>, target: &Target, plan: &mut Plan) {
    let node = observed.node;
    let spec = node.spec.as_ref();
    let has: Vec<Taint> = spec
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let is = |of: &str, value: &str| {
        conditions::get(conditions, of).is_some_and(|condition| condition.status() == value)
    };
    let state = ready(node);
    // Where no node is ready the trouble is more likely ours, and pods have nowhere to go.
    let evicts = observed.others_ready;
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (key, unready) in [
        (NOT_READY, state == "False"),
        (UNREACHABLE, state == "Unknown"),
    ] {
        if unready {
            wanted.push((key, "NoSchedule"));
            if evicts {
                wanted.push((key, "NoExecute"));
            }
        }
    }
    for (of, value, key) in PRESSURES {
        if is(of, value) {
            wanted.push((key, "NoSchedule"));
        }
    }
    if spec.is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| {
        let keys = PRESSURES.iter().map(|(_, _, key)| *key);
        keys.chain([NOT_READY, UNREACHABLE, UNSCHEDULABLE])
            .any(|key| key == taint.key)
    };
    let mut should: Vec<Taint> = has
        .iter()
        .filter(|taint| {
            !ours(taint) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str()))
        })
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !should
            .iter()
            .any(|taint| taint.key == key && taint.effect == effect)
        {
            should.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(Time(observed.now)),
                value: None,
            });
        }
    }
    if should != has {
        let taints = (!should.is_empty()).then_some(should);
        plan.act(Action::Patch {
            target: target.clone(),
            seen: seen(&node.metadata),
            part: Part::Main,
            patch: json!({"spec": {"taints": taints}}),
        });
    }
}

/// Pods that were ready when their node ceased to be are not: nobody can say that they are, and Services must not send them traffic. What a node says of a
/// pod after that is believed: it knows better, and would say it again and again.
fn mark_pods(observed: &Observed<'_>, plan: &mut Plan) {
    let status = observed.node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let since = conditions::get(conditions, "Ready").and_then(|ready| ready.since());
    let was_ready = |pod: &Pod| pods::is_ready(pod) && ready_since(pod) < since;
    for pod in observed.pods.iter().filter(|pod| was_ready(pod)) {
        let target = Target::of(&Kind::POD, &pod.metadata);
        let status = pod.status.as_ref();
        let has = status.and_then(|status| status.conditions.clone());
        let mut should = has.clone();
        let old = conditions::get(has.as_ref(), "Ready");
        let reason = old.map_or("", |old| old.reason());
        let message = old.map_or("", |old| old.message());
        let mut unready = PodCondition::new("Ready", "False", reason, message, observed.now);
        unready.reason = old.and_then(|old| old.reason.clone());
        unready.message = old.and_then(|old| old.message.clone());
        conditions::set(&mut should, unready);
        let Some(patch) = merge::diff(&json!({"conditions": has}), &json!({"conditions": should}))
        else {
            continue;
        };
        let note = target.note(
            Severity::Warning,
            "NodeNotReady",
            "Node is not ready".to_owned(),
        );
        plan.actions.push(Step {
            action: Action::Patch {
                target,
                seen: seen(&pod.metadata),
                part: Part::Status,
                patch: json!({ "status": patch }),
            },
            success: Some(note),
            failure: None,
        });
    }
}
