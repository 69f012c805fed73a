//! The Node object: what this node says of itself. Made when the agent starts, brought up to date when something changes, and often enough to show that somebody
//! still looks (upstream: the kubelet's node status updates).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coracle_lifecycle::{Note, NoteKind};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerImage, Node, NodeAddress, NodeCondition},
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{events::Subject, machine, parts::Parts, peers};

/// How often the node looks at itself, and after how long it writes even when nothing changed. The kubelet's values.
const LOOK: Duration = Duration::from_secs(10);
const REPORT: Duration = Duration::from_secs(300);
/// How soon the API server is tried again when the object cannot be written.
const RETRY: Duration = Duration::from_secs(1);
/// Images that the object lists. The kubelet's value.
const IMAGES: usize = 50;
/// Below this part of the disk (in percent), the node says that it runs out of it. The kubelet's value for its own file system.
const DISK_LEFT: u64 = 10;
/// Below this, in bytes, the node says that it runs out of memory. The kubelet's value.
const MEMORY_LEFT: i64 = 100 << 20;

/// Makes the object, waiting for the API server if need be. Returns at once when `stop` is told.
pub(crate) async fn register(parts: &Parts, stop: &CancellationToken) {
    let api: Api<Node> = Api::all(parts.config.client.clone());
    loop {
        let made = async {
            match api.create(&PostParams::default(), &object(parts)).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    let said = json!({ "metadata": { "labels": labels(parts), "annotations": annotations(parts) } });
                    let patch = Patch::Merge(said);
                    let name = &parts.config.name;
                    api.patch(name, &PatchParams::default(), &patch)
                        .await
                        .map(drop)
                }
                Err(error) => Err(error),
            }
        };
        match made.await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "the node cannot be registered, will try again"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Keeps the object's status true until `stop`; then says that the node is not ready.
pub(crate) async fn follow(parts: Arc<Parts>, stop: CancellationToken) {
    let api: Api<Node> = Api::all(parts.config.client.clone());
    let mut told: Option<(Value, Timestamp)> = None;
    let mut since: BTreeMap<String, (String, Timestamp)> = BTreeMap::new();
    tell(
        &parts,
        NoteKind::Normal,
        "Starting",
        "Starting the node agent.",
    );
    loop {
        let is_ready = !stop.is_cancelled();
        let now = Timestamp::now();
        let facts = facts(&parts, is_ready);
        let is_old = |at: Timestamp| {
            Duration::try_from(now.duration_since(at)).unwrap_or_default() >= REPORT
        };
        let is_due = told
            .as_ref()
            .is_none_or(|(before, at)| *before != facts || is_old(*at));
        let mut pause = LOOK;
        if is_due {
            let status = status(&parts, &facts, &mut since, now);
            let patch = Patch::Strategic(json!({ "status": status }));
            let name = &parts.config.name;
            let written = api
                .patch_status(name, &PatchParams::default(), &patch)
                .await;
            match written {
                Ok(_) => {
                    tell_changes(&parts, told.as_ref().map(|(before, _)| before), &facts);
                    told = Some((facts, now));
                }
                Err(kube::Error::Api(refusal)) if refusal.is_not_found() && is_ready => {
                    // Somebody deleted it while its node lives.
                    register(&parts, &stop).await;
                    told = None;
                    pause = Duration::ZERO;
                }
                Err(error) => {
                    tracing::warn!(%error, "the node's status cannot be written, will try again");
                    pause = RETRY;
                }
            }
        }
        if !is_ready {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn tell(parts: &Parts, kind: NoteKind, reason: &'static str, message: &str) {
    let name = parts.config.name.clone();
    let note = Note {
        kind,
        reason,
        message: message.to_owned(),
        container: None,
    };
    let node = Subject {
        kind: "Node",
        namespace: String::new(),
        // As the kubelet: what is about a node must not wait until its uid is known.
        uid: name.clone(),
        name,
        container: None,
    };
    parts.recorder.tell(node, &note);
}

/// Tells which conditions are others than before, in the kubelet's words.
fn tell_changes(parts: &Parts, before: Option<&Value>, now: &Value) {
    let of = |facts: Option<&Value>, condition: &str| {
        let all = facts.and_then(|facts| facts["conditions"].as_array());
        let one = all
            .into_iter()
            .flatten()
            .find(|one| one["type"] == condition);
        one.map(|one| one["status"] == "True")
    };
    for (condition, holds, fails) in [
        ("Ready", "NodeReady", "NodeNotReady"),
        (
            "MemoryPressure",
            "NodeHasInsufficientMemory",
            "NodeHasSufficientMemory",
        ),
        (
            "DiskPressure",
            "NodeHasDiskPressure",
            "NodeHasNoDiskPressure",
        ),
        (
            "PIDPressure",
            "NodeHasInsufficientPID",
            "NodeHasSufficientPID",
        ),
    ] {
        let is = of(Some(now), condition);
        if is == of(before, condition) {
            continue;
        }
        let reason = if is == Some(true) { holds } else { fails };
        let message = format!("Node {} status is now: {reason}", parts.config.name);
        tell(parts, NoteKind::Normal, reason, &message);
    }
}

fn labels(parts: &Parts) -> BTreeMap<String, String> {
    let mut labels = parts.config.labels.clone();
    let fixed = [
        ("kubernetes.io/hostname", parts.config.name.as_str()),
        ("kubernetes.io/arch", machine::architecture()),
        ("kubernetes.io/os", std::env::consts::OS),
    ];
    for (key, value) in fixed {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// What other nodes need to reach this one's pods.
fn annotations(parts: &Parts) -> BTreeMap<String, String> {
    let Some(settings) = &parts.config.tunnel else {
        return BTreeMap::new();
    };
    let told: Vec<String> = settings.told.iter().map(ToString::to_string).collect();
    [
        (peers::POD_RANGES, parts.config.pod_range.to_string()),
        (peers::TUNNEL, told.join(",")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn object(parts: &Parts) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(parts.config.name.clone()),
            labels: Some(labels(parts)),
            annotations: Some(annotations(parts)),
            ..ObjectMeta::default()
        },
        ..Node::default()
    }
}

fn condition(of: &str, holds: bool, reason: &str, message: &str) -> Value {
    json!({
        "type": of, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
    })
}

/// What is worth a write when it changes.
fn facts(parts: &Parts, is_ready: bool) -> Value {
    let memory = machine::memory();
    let short_of_memory = memory.is_some_and(|memory| memory.available < MEMORY_LEFT);
    let disk = machine::disk(&parts.config.data_dir).ok();
    let short_of_disk = disk.as_ref().is_some_and(|disk| {
        disk.available.saturating_mul(100) < disk.total.saturating_mul(DISK_LEFT)
    });
    let short_of_tasks = machine::tasks().is_some_and(|(now, limit)| now >= limit);
    let ready = if is_ready {
        condition("Ready", true, "AgentReady", "the agent runs pods")
    } else {
        condition("Ready", false, "AgentStopped", "the agent was stopped")
    };
    let pressure = |of: &str, what: &str, short: bool| {
        let (has, message) = if short {
            ("Has", format!("the node runs out of {what}"))
        } else {
            ("HasNo", format!("the node has enough {what}"))
        };
        condition(of, short, &format!("Agent{has}{of}"), &message)
    };
    let mut images = parts.images.listed();
    images.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let images = images
        .into_iter()
        .take(IMAGES)
        .map(|(names, size)| ContainerImage {
            names: Some(names),
            size_bytes: i64::try_from(size).ok(),
        });
    json!({
        "conditions": [
            pressure("MemoryPressure", "memory", short_of_memory),
            pressure("DiskPressure", "disk", short_of_disk),
            pressure("PIDPressure", "process numbers", short_of_tasks),
            ready,
        ],
        "images": images.collect::<Vec<_>>(),
    })
}

/// The status to be written.
fn status(
    parts: &Parts,
    facts: &Value,
    since: &mut BTreeMap<String, (String, Timestamp)>,
    now: Timestamp,
) -> Value {
    let capacity = &parts.config.capacity;
    let resources: BTreeMap<&str, Quantity> = [
        (
            "cpu",
            coracle_api::quantity::Quantity::from_millis(capacity.cpu_millis),
        ),
        (
            "memory",
            coracle_api::quantity::Quantity::from_bytes(capacity.memory_bytes),
        ),
    ]
    .into_iter()
    .map(|(name, amount)| (name, Quantity(amount.to_string())))
    .chain([("pods", Quantity(capacity.pods.to_string()))])
    .collect();
    let conditions = facts["conditions"].as_array().into_iter().flatten();
    let conditions = conditions.filter_map(|one| {
        let mut condition: NodeCondition = serde_json::from_value(one.clone()).ok()?;
        let known = since
            .entry(condition.type_.clone())
            .or_insert_with(|| (condition.status.clone(), now));
        if known.0 != condition.status {
            *known = (condition.status.clone(), now);
        }
        condition.last_transition_time = Some(Time(known.1));
        condition.last_heartbeat_time = Some(Time(now));
        Some(condition)
    });
    let addresses = parts.config.addresses.iter().map(|address| NodeAddress {
        type_: "InternalIP".to_owned(),
        address: address.to_string(),
    });
    let hostname = NodeAddress {
        type_: "Hostname".to_owned(),
        address: parts.config.name.clone(),
    };
    json!({
        "capacity": resources,
        "allocatable": resources,
        "conditions": conditions.collect::<Vec<_>>(),
        "addresses": addresses.chain([hostname]).collect::<Vec<_>>(),
        "nodeInfo": machine::system_info(),
        "images": facts["images"],
    })
}
