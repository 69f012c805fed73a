//! Removes pods whose node is no more, and the oldest of those that have ended when there are too many. Rules: upstream `pkg/controller/podgc`.

use std::sync::Arc;

use coracle_api::{names::ObjectKey, pods};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::json;

use super::Settings;
use crate::{
    action::{Action, Lookup, Part, Plan, Propagation, Target, seen},
    caches::{Change, ENDED, Object, on_node},
    conditions::{self, Condition as _},
    controller::{Controller, Seen, Watch},
    kind::Kind,
    memory::Memory,
    readiness::{after, ended_at},
};

/// The key that stands for all pods that have ended; no node can have that name.
const ALL_ENDED: &str = "*ended*";

/// The controller. Keys are nodes, existing or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodOrphans {
    /// How long is how long.
    pub settings: Settings,
}

impl Controller for PodOrphans {
    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::NODE, |change| {
                let gone = change.old.filter(|_| change.new.is_none());
                let name = gone.and_then(|one| one.meta().name.as_deref());
                name.map(ObjectKey::cluster).into_iter().collect()
            }),
            Watch::of(Kind::POD, pods_left_over),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let pods = &seen.caches.pods;
        if key.name == ALL_ENDED {
            let surplus = pods
                .n_tagged(ENDED)
                .saturating_sub(self.settings.ended_pods);
            return Some(ended(pods.tagged(ENDED).collect(), surplus));
        }
        if seen.caches.nodes.get(key).is_some() {
            let memory = (*seen.memory != Memory::Nothing).then_some(Memory::Nothing);
            return Some(Plan {
                memory,
                ..Plan::default()
            });
        }
        let missing = Missing {
            node: key,
            pods: pods.tagged(&on_node(&key.name)).collect(),
            since: match seen.memory {
                Memory::MissingSince(since) => Some(*since),
                _ => None,
            },
            certain: seen
                .caches
                .absent
                .contains(&(Kind::NODE.kind.to_string(), key.clone())),
            now: seen.now,
        };
        Some(orphaned(&missing, self.settings))
    }
}

fn pods_left_over(change: &Change<'_>) -> Vec<ObjectKey> {
    let Some(Object::Pod(pod)) = change.new else {
        return Vec::new();
    };
    let node = pods::node_name(pod).map(ObjectKey::cluster);
    let missing = node.filter(|node| change.caches.nodes.get(node).is_none());
    let ended = pods::is_terminal(pod).then(|| ObjectKey::cluster(ALL_ENDED));
    missing.into_iter().chain(ended).collect()
}

/// What is known of a node that is not there.
struct Missing<'a> {
    node: &'a ObjectKey,
    pods: Vec<&'a Arc<Pod>>,
    since: Option<Timestamp>,
    certain: bool,
    now: Timestamp,
}

fn orphaned(missing: &Missing<'_>, settings: Settings) -> Plan {
    let mut plan = Plan::default();
    if missing.pods.is_empty() {
        plan.memory = missing.since.map(|_| Memory::Nothing);
        return plan;
    }
    let since = missing.since.unwrap_or(missing.now);
    plan.memory = Some(Memory::MissingSince(since));
    let over = after(since, settings.quarantine);
    if over > missing.now {
        plan.wake(over);
        return plan;
    }
    if !missing.certain {
        plan.lookups.push(Lookup::Exists {
            api_version: Kind::NODE.api_version(),
            kind: Kind::NODE.kind.to_string(),
            key: missing.node.clone(),
            uid: None,
        });
        return plan;
    }
    // What is being removed without delay already only waits for its finalizers.
    let goes = |pod: &Pod| pod.metadata.deletion_grace_period_seconds == Some(0);
    for pod in missing.pods.iter().filter(|pod| !goes(pod)) {
        remove(pod, missing.now, &mut plan);
    }
    plan
}

/// Nobody will say how the pod ended, and nobody will confirm its end: it has failed and is removed at once.
fn remove(pod: &Pod, now: Timestamp, plan: &mut Plan) {
    let target = Target::of(&Kind::POD, &pod.metadata);
    if !pods::is_terminal(pod) {
        let mut conditions = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone());
        let condition = PodCondition::new(
            "DisruptionTarget",
            "True",
            "DeletionByPodGC",
            "PodGC: node no longer exists",
            now,
        );
        conditions::set(&mut conditions, condition);
        plan.act(Action::Patch {
            target: target.clone(),
            seen: seen(&pod.metadata),
            part: Part::Status,
            patch: json!({"status": {"phase": "Failed", "conditions": conditions}}),
        });
    }
    plan.act(Action::Delete {
        target,
        seen: None,
        propagation: Propagation::Background,
        grace: Some(0),
    });
}

/// Removes the `surplus` pods that ended first.
fn ended(mut pods: Vec<&Arc<Pod>>, surplus: usize) -> Plan {
    let mut plan = Plan::default();
    if surplus == 0 {
        return plan;
    }
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.sort_by_cached_key(|pod| (ended_at(pod), pod.metadata.uid.clone()));
    for pod in pods.into_iter().take(surplus) {
        plan.act(Action::Delete {
            target: Target::of(&Kind::POD, &pod.metadata),
            seen: None,
            propagation: Propagation::Background,
            grace: Some(0),
        });
    }
    plan
}
