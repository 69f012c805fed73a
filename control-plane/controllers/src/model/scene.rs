//! Scenes for tests of planners: objects in a few words, and the check that a controller plans what is expected.

use coracle_api::names::ObjectKey;
use serde_json::{Value, json};

use super::{World, ago, describe, reconcile::Loop};
use crate::{controller::Controller, kind::Kind, merge};

/// Checks what a controller plans for a key, in words, a line for each step. Keys in namespace `a` start with `a/`.
#[track_caller]
pub fn check(controller: impl Controller, key: &str, world: &World, expected: &str) {
    let planned = planned(controller, key, world);
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let planned: Vec<&str> = planned.lines().collect();
    assert_eq!(planned, expected, "planned:\n{}\n", planned.join("\n"));
}

/// What a controller plans for a key, in words.
pub fn planned(controller: impl Controller, key: &str, world: &World) -> String {
    let key = match key.split_once('/') {
        Some((namespace, name)) => ObjectKey::namespaced(namespace, name),
        None => ObjectKey::cluster(key),
    };
    let one = Loop::new(Box::new(controller));
    let plan = one.plan(&key, &world.caches, world.now);
    plan.map_or_else(|| "nothing".to_owned(), |plan| describe::plan(&plan, world))
}

/// A reference that makes `kind` `name` the controller. Its uid is `uid-name`.
pub fn controlled_by(kind: &Kind, name: &str) -> Value {
    json!([{"apiVersion": kind.api_version(), "kind": kind.kind, "name": name, "uid": format!("uid-{name}"), "controller": true, "blockOwnerDeletion": true}])
}

/// A pod in a state: `pending`, `bound`, `running`, `ready`, `succeeded`, `failed`, each perhaps with `-ending`. Its uid is `uid-name`.
pub fn pod(name: &str, state: &str, labels: Value, owners: Value) -> Value {
    let (state, ends) = match state.strip_suffix("-ending") {
        Some(state) => (state, true),
        None => (state, false),
    };
    let phase = match state {
        "pending" | "bound" => "Pending",
        "running" | "ready" => "Running",
        "succeeded" => "Succeeded",
        "failed" => "Failed",
        other => panic!("no such state: {other}"),
    };
    let ready = if state == "ready" { "True" } else { "False" };
    let mut pod = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": labels, "ownerReferences": owners},
        "spec": {"containers": [{"name": "main", "image": "v1", "resources": {"requests": {"cpu": "100m"}}, "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": phase, "startTime": ago(3600), "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": ago(600)}]},
    });
    if state != "pending" {
        pod["spec"]["nodeName"] = json!("n1");
    }
    if phase == "Running" {
        pod["status"]["podIP"] = json!("10.0.0.1");
    }
    if ends {
        pod["metadata"]["deletionTimestamp"] = json!(ago(1));
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    }
    pod
}

/// An object with more in it, as a merge patch says.
pub fn with(mut object: Value, more: Value) -> Value {
    merge::apply(&mut object, &more);
    object
}
