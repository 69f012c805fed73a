//! What each controller may change. Not how it decides: only whose objects are whose.

use coracle_api::names::ObjectKey;
use serde_json::{Value, json};

use super::object;
use crate::{
    action::{Action, Part, Target},
    kind::Kind,
    model::World,
};

/// Whether a controller may do what it wants to do for a key, or why not.
pub fn allows(name: &str, key: &ObjectKey, action: &Action, world: &World) -> Result<(), String> {
    match name {
        "replicaset-controller" => workload(&Kind::REPLICA_SET, &Kind::POD, key, action, world),
        "deployment-controller" => {
            workload(&Kind::DEPLOYMENT, &Kind::REPLICA_SET, key, action, world)
        }
        "statefulset-controller" => stateful_set(key, action, world),
        "daemonset-controller" => {
            let child = child_kind(&Kind::DAEMON_SET, action);
            workload(&Kind::DAEMON_SET, &child, key, action, world)
        }
        "job-controller" => job(key, action, world),
        "ttl-after-finished-controller" => {
            let job = object(world, &Kind::JOB, key).ok_or("there is no such Job")?;
            let over = job["status"]["conditions"].as_array().into_iter().flatten();
            let over = over.filter(|one| one["status"] == "True");
            let over = over.filter(|one| one["type"] == "Complete" || one["type"] == "Failed");
            holds(over.count() > 0, "the Job is not over")?;
            its_own(&Kind::JOB, key, action)
        }
        "horizontal-pod-autoscaler-controller" => match action {
            Action::Patch {
                target,
                part: Part::Scale,
                patch,
                ..
            } => {
                let scaler = object(world, &Kind::AUTOSCALER, key).ok_or("no autoscaler")?;
                let spec = &scaler["spec"];
                let replicas = patch["spec"]["replicas"].as_i64();
                holds(
                    spec["scaleTargetRef"]["name"] == json!(target.key.name),
                    "not its target",
                )?;
                holds(
                    replicas <= spec["maxReplicas"].as_i64()
                        && replicas >= spec["minReplicas"].as_i64(),
                    "beyond minimum and maximum",
                )
            }
            _ => its_own(&Kind::AUTOSCALER, key, action),
        },
        "service-lb-controller" => its_own(&Kind::SERVICE, key, action),
        "endpointslice-controller" => endpoints(key, action, world),
        "garbage-collector" => garbage(key, action, world),
        "namespace-controller" => {
            let namespace = object(world, &Kind::NAMESPACE, key).ok_or("no such namespace")?;
            let ending = namespace["metadata"]["deletionTimestamp"].is_string();
            holds(ending, "the namespace is not going away")?;
            match action {
                Action::DeleteAll { namespace, .. } => {
                    holds(*namespace == key.name, "another namespace")
                }
                _ => its_own(&Kind::NAMESPACE, key, action),
            }
        }
        "node-lifecycle-controller" => match action {
            Action::Patch {
                target,
                part: Part::Status,
                ..
            } if target.kind == Kind::POD => on_node(key, target, world),
            _ => its_own(&Kind::NODE, key, action),
        },
        "taint-eviction-controller" => {
            let target = target_of(action).ok_or("it makes nothing")?;
            on_node(key, target, world)?;
            let node = object(world, &Kind::NODE, key).ok_or("there is no such node")?;
            let taints = node["spec"]["taints"].as_array().into_iter().flatten();
            let evicting = taints.filter(|one| one["effect"] == "NoExecute").count();
            holds(evicting > 0, "nothing evicts")
        }
        "pod-garbage-collector-controller" => {
            let target = target_of(action).ok_or("it makes nothing")?;
            let pod = object(world, &Kind::POD, &target.key).ok_or("there is no such pod")?;
            let ended = matches!(
                pod["status"]["phase"].as_str(),
                Some("Succeeded" | "Failed")
            );
            let homeless = object(world, &Kind::NODE, key).is_none();
            holds(
                ended || (homeless && on_node(key, target, world).is_ok()),
                "the pod has a node",
            )
        }
        "serviceaccount-controller" => match action {
            Action::Create { kind, object } => holds(
                *kind == Kind::SERVICE_ACCOUNT
                    && object["metadata"]["namespace"] == json!(key.name),
                "not its account",
            ),
            _ => Err("it only makes accounts".to_owned()),
        },
        _ => Err(format!("nobody said what {name} may do")),
    }
}

fn holds(is: bool, why: &str) -> Result<(), String> {
    if is { Ok(()) } else { Err(why.to_owned()) }
}

fn target_of(action: &Action) -> Option<&Target> {
    match action {
        Action::Delete { target, .. }
        | Action::Patch { target, .. }
        | Action::Adopt { target, .. } => Some(target),
        Action::Create { .. } | Action::DeleteAll { .. } => None,
    }
}

fn its_own(kind: &Kind, key: &ObjectKey, action: &Action) -> Result<(), String> {
    let target = target_of(action).ok_or("it makes nothing")?;
    holds(target.kind == *kind && target.key == *key, "another object")
}

fn controller_of(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let controller = owners.iter().find(|one| one["controller"] == json!(true))?;
    controller["uid"].as_str()
}

/// What owners of children may do.
fn workload(
    own: &Kind,
    child: &Kind,
    key: &ObjectKey,
    action: &Action,
    world: &World,
) -> Result<(), String> {
    let owner = object(world, own, key).ok_or("there is no owner")?;
    let uid = owner["metadata"]["uid"].as_str().unwrap_or_default();
    match action {
        Action::Create { kind, object } => {
            holds(kind == child, "not a child")?;
            holds(controller_of(object) == Some(uid), "a child of nobody's")?;
            holds(
                owner["metadata"]["deletionTimestamp"].is_null(),
                "the owner is going away",
            )
        }
        Action::Adopt { target, .. } => {
            let found = object(world, child, &target.key).ok_or("there is no such child")?;
            holds(controller_of(found).is_none(), "somebody else's child")
        }
        Action::DeleteAll { .. } => Err("it has no namespace".to_owned()),
        Action::Delete { target, .. } | Action::Patch { target, .. } => {
            if target.kind == *own {
                return holds(target.key == *key, "another owner");
            }
            let found = object(world, child, &target.key).ok_or("there is no such child")?;
            holds(target.kind == *child, "not a child")?;
            holds(controller_of(found) == Some(uid), "not its child")
        }
    }
}

/// Pods, or the revisions of their template.
fn child_kind(own: &Kind, action: &Action) -> Kind {
    let kind = action.kind();
    if *kind == Kind::CONTROLLER_REVISION || kind == own {
        Kind::CONTROLLER_REVISION
    } else {
        Kind::POD
    }
}

fn stateful_set(key: &ObjectKey, action: &Action, world: &World) -> Result<(), String> {
    if *action.kind() == Kind::CLAIM {
        // Claims are made and given owners, and never taken away here.
        return match action {
            Action::Create { object, .. } => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                holds(
                    name.contains(&format!("-{}-", key.name)),
                    "another set's claim",
                )
            }
            Action::Patch { target, patch, .. } => {
                let owners = patch["metadata"].as_object();
                let only = owners.is_some_and(|map| map.keys().all(|key| key == "ownerReferences"));
                holds(only, "more than owners")?;
                holds(
                    target.key.name.contains(&format!("-{}-", key.name)),
                    "another set's claim",
                )
            }
            _ => Err("claims are not its to end".to_owned()),
        };
    }
    let child = child_kind(&Kind::STATEFUL_SET, action);
    workload(&Kind::STATEFUL_SET, &child, key, action, world)
}

fn job(key: &ObjectKey, action: &Action, world: &World) -> Result<(), String> {
    // A pod that waits to be counted by a Job that is no more is let go.
    if let Action::Patch { target, patch, .. } = action
        && target.kind == Kind::POD
        && patch["metadata"]
            .as_object()
            .is_some_and(|map| map.len() == 1 && map.contains_key("finalizers"))
    {
        let pod = object(world, &Kind::POD, &target.key).ok_or("there is no such pod")?;
        let own = object(world, &Kind::JOB, key).map(|job| job["metadata"]["uid"].clone());
        let owner = controller_of(pod).map(|uid| json!(uid));
        let label = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == json!(key.name);
        return holds(
            owner == own || (owner.is_none() && label) || own.is_none(),
            "another Job's pod",
        );
    }
    workload(&Kind::JOB, &Kind::POD, key, action, world)
}

fn endpoints(key: &ObjectKey, action: &Action, world: &World) -> Result<(), String> {
    let service = object(world, &Kind::SERVICE, key).ok_or("there is no such Service")?;
    let of = |object: &Value| {
        let labels = &object["metadata"]["labels"];
        labels["kubernetes.io/service-name"] == json!(key.name)
            && labels["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    };
    match action {
        Action::Create { kind, object } => {
            holds(*kind == Kind::ENDPOINT_SLICE && of(object), "not its slice")?;
            let uid = service["metadata"]["uid"].as_str();
            holds(controller_of(object) == uid, "a slice of nobody's")?;
            let n = object["endpoints"].as_array().map_or(0, Vec::len);
            holds(n <= 100, "too many endpoints")
        }
        Action::Delete { target, .. } | Action::Patch { target, .. } => {
            let slice = object(world, &target.kind, &target.key).ok_or("there is no such slice")?;
            holds(of(slice), "somebody else's slice")
        }
        Action::Adopt { .. } | Action::DeleteAll { .. } => Err("it does not do that".to_owned()),
    }
}

/// Keys are uids. What is deleted had owners, and none of them keeps it.
fn garbage(key: &ObjectKey, action: &Action, world: &World) -> Result<(), String> {
    let by_uid = |uid: &str| {
        world
            .objects()
            .find(|(_, object)| object["metadata"]["uid"] == json!(uid))
    };
    let Action::Delete { target, .. } = action else {
        let target = target_of(action).ok_or("it makes nothing")?;
        let (_, found) = by_uid(&target.uid).ok_or("there is no such object")?;
        let owners = found["metadata"]["ownerReferences"].as_array();
        let of_key = owners
            .into_iter()
            .flatten()
            .any(|one| one["uid"] == json!(key.name));
        return holds(
            target.uid == key.name || of_key,
            "neither it nor a dependent",
        );
    };
    holds(target.uid == key.name, "another object")?;
    let (place, found) = by_uid(&target.uid).ok_or("there is no such object")?;
    let owners = found["metadata"]["ownerReferences"].as_array().cloned();
    let owners = owners.unwrap_or_default();
    holds(!owners.is_empty(), "nobody ever owned it")?;
    for owner in owners {
        let Some((at, owner)) = by_uid(owner["uid"].as_str().unwrap_or_default()) else {
            continue;
        };
        let finalizers = owner["metadata"]["finalizers"].as_array();
        let waits = owner["metadata"]["deletionTimestamp"].is_string()
            && finalizers.is_some_and(|all| all.contains(&json!("foregroundDeletion")));
        let elsewhere = at.1.namespace.is_some() && at.1.namespace != place.1.namespace;
        holds(waits || elsewhere, "an owner keeps it")?;
    }
    Ok(())
}

fn on_node(key: &ObjectKey, target: &Target, world: &World) -> Result<(), String> {
    let pod = object(world, &Kind::POD, &target.key).ok_or("there is no such pod")?;
    holds(
        target.kind == Kind::POD && pod["spec"]["nodeName"] == json!(key.name),
        "a pod of another node",
    )
}
