//! Worlds at random: a few objects of every kind that controllers look at, in all states they come in, and what users, nodes and others do to them.

use serde_json::{Value, json};

use crate::{
    action::Propagation,
    autoscaler::metrics::{Sample, Usage},
    kind::Kind,
    model::{CONFIG_MAP, Place, World, ago, tape::Tape},
    readiness::after,
};

/// Namespaces in a world.
const NAMESPACES: [&str; 2] = ["a", "b"];
const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// A world.
pub fn random(tape: &mut Tape) -> World {
    let mut world = World::default();
    for name in NAMESPACES {
        let mut namespace = json!({"metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        if name == "b" && tape.one_in(3) {
            namespace["metadata"]["deletionTimestamp"] = json!(ago(5));
            namespace["status"]["phase"] = json!("Terminating");
        }
        world.put(&Kind::NAMESPACE, namespace);
    }
    for name in NODES {
        if !tape.one_in(4) {
            world.put(&Kind::NODE, node(name, tape));
            let renewed = ago([1, 30, 100][tape.below(3)]);
            world.put(&Kind::LEASE, json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": renewed}}));
        }
    }
    for n in 0..tape.below(3) {
        world.put(&Kind::DEPLOYMENT, deployment(&format!("deploy{n}"), tape));
    }
    for n in 0..tape.below(4) {
        let set = replica_set(&format!("set{n}"), tape, &world);
        world.put(&Kind::REPLICA_SET, set);
    }
    for n in 0..tape.below(3) {
        world.put(
            &Kind::STATEFUL_SET,
            stateful_set(&format!("state{n}"), tape),
        );
    }
    for n in 0..tape.below(2) {
        world.put(&Kind::DAEMON_SET, daemon_set(&format!("daemon{n}"), tape));
    }
    for n in 0..tape.below(3) {
        world.put(&Kind::JOB, job(&format!("job{n}"), tape));
    }
    for n in 0..tape.below(8) {
        let pod = pod(&format!("pod{n}"), tape, &world);
        world.put(&Kind::POD, pod);
    }
    for n in 0..tape.below(3) {
        world.put(&Kind::SERVICE, service(&format!("service{n}"), tape));
    }
    for n in 0..tape.below(3) {
        let slice = slice(&format!("slice{n}"), tape, &world);
        world.put(&Kind::ENDPOINT_SLICE, slice);
    }
    for n in 0..tape.below(2) {
        let name = format!("scaler{n}");
        world.put(&Kind::AUTOSCALER, autoscaler(&name, tape));
    }
    for n in 0..tape.below(4) {
        let owners = owners(tape, &world, false);
        let mut map = json!({"metadata": {"name": format!("map{n}"), "namespace": tape.of(&NAMESPACES), "ownerReferences": owners}});
        mark(&mut map, tape);
        world.put(&CONFIG_MAP, map);
    }
    measure(&mut world, tape);
    world
}

/// What pods use, as of now.
pub fn measure(world: &mut World, tape: &mut Tape) {
    let pods: Vec<_> = world
        .caches
        .pods
        .keys()
        .filter(|key| key.namespace.as_deref() == Some("a"))
        .cloned()
        .collect();
    let mut samples = Vec::new();
    for key in pods {
        if tape.one_in(4) {
            continue;
        }
        let usage = Usage {
            cpu_millis: tape.of(&[0, 50, 100, 400]),
            memory_bytes: 1 << 20,
        };
        let sample = Sample {
            time: world.now,
            window: jiff::SignedDuration::from_secs(15),
            containers: [("main".to_owned(), usage)].into(),
        };
        samples.push((key, sample));
    }
    world.caches.metrics.replace("a", samples);
}

fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "main", "image": image,
        "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}], "resources": {"requests": {"cpu": "100m"}}}], "restartPolicy": "Always"}})
}

/// Now and then an object is being deleted, or kept by a finalizer.
fn mark(object: &mut Value, tape: &mut Tape) {
    let meta = &mut object["metadata"];
    match tape.below(8) {
        5 => {
            meta["deletionTimestamp"] = json!(ago(3));
            meta["finalizers"] = json!(["test/hold"]);
        }
        6 => {
            meta["deletionTimestamp"] = json!(ago(3));
            meta["finalizers"] = json!(["foregroundDeletion"]);
        }
        7 => {
            meta["deletionTimestamp"] = json!(ago(3));
            meta["finalizers"] = json!(["orphan"]);
        }
        _ => {}
    }
}

/// Owners among what there is, what was and what is elsewhere.
fn owners(tape: &mut Tape, world: &World, controller: bool) -> Value {
    let mut owners = Vec::new();
    for n in 0..tape.below(3) {
        let all: Vec<(&Place, &Value)> = world.objects().collect();
        let block = tape.one_in(2);
        let mut owner = match tape.below(6) {
            4 => {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "uid-gone"})
            }
            _ => {
                let ((kind, key), object) = all[tape.below(all.len())];
                json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": key.name, "uid": object["metadata"]["uid"]})
            }
        };
        owner["controller"] = json!(controller && n == 0);
        owner["blockOwnerDeletion"] = json!(block);
        owners.push(owner);
    }
    json!(owners)
}

fn owner_of(kinds: &[Kind], tape: &mut Tape, world: &World) -> Value {
    let all: Vec<(&Place, &Value)> = world
        .objects()
        .filter(|((kind, _), _)| kinds.contains(kind))
        .collect();
    if all.is_empty() || tape.one_in(3) {
        return json!([]);
    }
    let ((kind, key), object) = all[tape.below(all.len())];
    json!([{"apiVersion": kind.api_version(), "kind": kind.kind, "name": key.name, "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}])
}

fn node(name: &str, tape: &mut Tape) -> Value {
    let ready = tape.of(&["True", "True", "False", "Unknown"]);
    let told = ago([1, 30, 100][tape.below(3)]);
    let conditions = json!([{"type": "Ready", "status": ready, "reason": "x", "lastHeartbeatTime": told, "lastTransitionTime": ago(200)}]);
    let taints = match tape.below(4) {
        1 => {
            json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": ago(100)}])
        }
        2 => json!([{"key": "mine", "value": "x", "effect": "NoExecute"}]),
        _ => json!([]),
    };
    json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": name}}, "spec": {"taints": taints, "unschedulable": tape.one_in(4)}, "status": {"conditions": conditions}})
}

fn deployment(name: &str, tape: &mut Tape) -> Value {
    let strategy = match tape.below(4) {
        1 => json!({"type": "Recreate"}),
        2 => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})
        }
        3 => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        }
        _ => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        }
    };
    let mut deployment = json!({"metadata": {"name": name, "annotations": {"note": "x"}}, "spec": {
        "replicas": tape.below(5), "selector": {"matchLabels": {"app": name}}, "template": template(name, tape.of(&["v1", "v2"])),
        "strategy": strategy, "paused": tape.one_in(5), "minReadySeconds": tape.of(&[0, 0, 10]), "revisionHistoryLimit": tape.of(&[10, 0, 1]), "progressDeadlineSeconds": 600}});
    mark(&mut deployment, tape);
    deployment
}

fn replica_set(name: &str, tape: &mut Tape, world: &World) -> Value {
    let owner = owner_of(&[Kind::DEPLOYMENT], tape, world);
    let app = match owner[0]["name"].as_str() {
        Some(name) => name.to_owned(),
        None => tape.of(&["deploy0", "app"]).to_owned(),
    };
    let mut template = template(&app, tape.of(&["v1", "v2", "v0"]));
    template["metadata"]["labels"]["pod-template-hash"] = json!(name);
    let labels = template["metadata"]["labels"].clone();
    let replicas = tape.below(4);
    let available = tape.below(replicas + 1);
    let mut set = json!({"metadata": {"name": name, "labels": labels, "ownerReferences": owner, "annotations": {
            "deployment.kubernetes.io/revision": (tape.below(3) + 1).to_string(), "deployment.kubernetes.io/desired-replicas": tape.below(5).to_string(), "deployment.kubernetes.io/max-replicas": "5"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": app, "pod-template-hash": name}}, "template": template, "minReadySeconds": 0},
        "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1}});
    mark(&mut set, tape);
    set
}

fn stateful_set(name: &str, tape: &mut Tape) -> Value {
    let strategy = match tape.below(3) {
        1 => json!({"type": "OnDelete"}),
        2 => json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}),
        _ => json!({"type": "RollingUpdate"}),
    };
    let mut set = json!({"metadata": {"name": name}, "spec": {"replicas": tape.below(4), "serviceName": name, "selector": {"matchLabels": {"app": name}},
        "template": template(name, tape.of(&["v1", "v2"])), "podManagementPolicy": tape.of(&["OrderedReady", "Parallel"]), "updateStrategy": strategy, "minReadySeconds": tape.of(&[0, 10])}});
    if tape.one_in(2) {
        let policy = tape.of(&["Retain", "Delete"]);
        set["spec"]["persistentVolumeClaimRetentionPolicy"] =
            json!({"whenDeleted": policy, "whenScaled": tape.of(&["Retain", "Delete"])});
        set["spec"]["volumeClaimTemplates"] =
            json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]);
    }
    mark(&mut set, tape);
    set
}

fn daemon_set(name: &str, tape: &mut Tape) -> Value {
    let strategy = match tape.below(3) {
        1 => json!({"type": "OnDelete"}),
        2 => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        }
        _ => json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}),
    };
    let mut template = template(name, tape.of(&["v1", "v2"]));
    if tape.one_in(3) {
        template["spec"]["nodeSelector"] = json!({"topology.kubernetes.io/zone": "n1"});
    }
    let mut set = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, "updateStrategy": strategy}});
    mark(&mut set, tape);
    set
}

fn job(name: &str, tape: &mut Tape) -> Value {
    let uid = format!("uid-{name}");
    let labels =
        json!({"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name});
    let mut template = template(name, "v1");
    template["metadata"]["labels"] = labels;
    template["spec"]["restartPolicy"] = json!(tape.of(&["Never", "OnFailure"]));
    let indexed = tape.one_in(3);
    let completions = if indexed || tape.one_in(2) {
        json!(tape.below(4))
    } else {
        Value::Null
    };
    let mut job = json!({"metadata": {"name": name, "uid": uid}, "spec": {"parallelism": tape.below(4), "completions": completions,
        "backoffLimit": tape.below(3), "suspend": tape.one_in(4), "template": template, "completionMode": if indexed { "Indexed" } else { "NonIndexed" },
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}}});
    if indexed && tape.one_in(3) {
        job["spec"]["backoffLimitPerIndex"] = json!(tape.below(2));
        job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    }
    if tape.one_in(3) {
        job["spec"]["podReplacementPolicy"] = json!("Failed");
    }
    if tape.one_in(4) {
        job["spec"]["activeDeadlineSeconds"] = json!(60);
    }
    if tape.one_in(3) {
        job["spec"]["ttlSecondsAfterFinished"] = json!(tape.of(&[0, 60]));
    }
    if tape.one_in(4) {
        job["status"] = json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": ago(30)}]});
    }
    mark(&mut job, tape);
    job
}

fn pod(name: &str, tape: &mut Tape, world: &World) -> Value {
    let kinds = [
        Kind::REPLICA_SET,
        Kind::JOB,
        Kind::STATEFUL_SET,
        Kind::DAEMON_SET,
    ];
    let owner = owner_of(&kinds, tape, world);
    let owner_place = world.objects().find(|(_, object)| {
        object["metadata"]["uid"] == owner[0]["uid"] && owner[0]["uid"].is_string()
    });
    let mut labels = json!({"app": tape.of(&["app", "deploy0"])});
    let mut finalizers = Vec::new();
    let mut annotations = json!({});
    if let Some(((kind, _), object)) = owner_place {
        labels = object["spec"]["template"]["metadata"]["labels"].clone();
        if *kind == Kind::JOB {
            if !tape.one_in(4) {
                finalizers.push("batch.kubernetes.io/job-tracking");
            }
            let index = tape.below(4).to_string();
            annotations["batch.kubernetes.io/job-completion-index"] = json!(index);
        }
        if tape.one_in(6) {
            labels = json!({"other": "x"});
        }
    }
    let phase = tape.of(&["Pending", "Running", "Running", "Succeeded", "Failed"]);
    let ready = if phase == "Running" {
        tape.of(&["True", "False"])
    } else {
        "False"
    };
    let mut pod = json!({"metadata": {"name": name, "labels": labels, "annotations": annotations, "finalizers": finalizers, "ownerReferences": owner, "creationTimestamp": ago(tape.of(&[10, 100, 1000]))},
        "spec": {"containers": template("x", "v1")["spec"]["containers"]},
        "status": {"phase": phase, "startTime": ago(90), "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": ago(tape.of(&[1, 5, 60]))}]}});
    if phase != "Pending" || tape.one_in(2) {
        pod["spec"]["nodeName"] = json!(tape.of(&NODES));
    }
    if !tape.one_in(4) {
        let ip = format!("10.0.0.{}", tape.below(200));
        pod["status"]["podIP"] = json!(ip);
        pod["status"]["podIPs"] = json!([{"ip": ip}]);
    }
    if tape.one_in(4) {
        let seconds = tape.of(&[json!(20), json!(300), Value::Null]);
        pod["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    }
    if tape.one_in(6) {
        pod["metadata"]["deletionTimestamp"] = json!(ago(3));
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    }
    pod
}

fn service(name: &str, tape: &mut Tape) -> Value {
    let app = tape.of(&["app", "deploy0", "none"]);
    let families = tape.of(&[json!(["IPv4"]), json!(["IPv4", "IPv6"]), Value::Null]);
    let mut service = json!({"metadata": {"name": name, "labels": {"of": name}}, "spec": {"selector": {"app": app}, "clusterIP": tape.of(&["10.96.0.1", "None"]), "ipFamilies": families,
        "publishNotReadyAddresses": tape.one_in(3), "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": tape.of(&[json!(8080), json!("web"), json!("nothing")])}]}});
    if tape.one_in(6) {
        service["spec"]["type"] = json!("ExternalName");
    }
    mark(&mut service, tape);
    service
}

fn slice(name: &str, tape: &mut Tape, world: &World) -> Value {
    let services: Vec<&Value> = world.all(&Kind::SERVICE).collect();
    let service = match services.len() {
        0 => "service0",
        n => services[tape.below(n)]["metadata"]["name"]
            .as_str()
            .unwrap(),
    };
    let manager = tape.of(&["endpointslice-controller.k8s.io", "somebody"]);
    let target = json!({"kind": "Pod", "name": "pod0", "namespace": "a", "uid": "uid-gone"});
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": manager}},
        "addressType": tape.of(&["IPv4", "IPv6"]), "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.0.0.9"], "conditions": {"ready": true}, "targetRef": target}]})
}

fn autoscaler(name: &str, tape: &mut Tape) -> Value {
    let target = tape.of(&["deploy0", "deploy1", "nothing"]);
    json!({"metadata": {"name": name}, "spec": {"minReplicas": tape.of(&[1, 2]), "maxReplicas": tape.of(&[2, 5]),
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        "metrics": [{"type": "Resource", "resource": {"name": tape.of(&["cpu", "memory"]), "target": {"type": "Utilization", "averageUtilization": 50}}}]}})
}

/// Something that a user, a node or time does.
pub fn disturb(world: &mut World, tape: &mut Tape) {
    let places: Vec<Place> = world.objects().map(|(place, _)| place.clone()).collect();
    let place = places[tape.below(places.len())].clone();
    let now = world.now.to_string();
    match (tape.below(6), &place.0) {
        (0, _) => world.wait(i64::try_from(tape.below(40)).unwrap()),
        // A namespace with sets in it that goes away is never at rest before they are gone.
        (1, kind) if *kind != Kind::NODE && place.1.name != "a" => {
            let how = tape.of(&[
                Propagation::Background,
                Propagation::Foreground,
                Propagation::Orphan,
            ]);
            world.delete(&place, how, None);
        }
        (2, kind) if *kind == Kind::POD => world.vanish(&place),
        (_, kind) if *kind == Kind::POD => {
            let ready = tape.of(&["True", "False"]);
            let phase = tape.of(&["Running", "Running", "Succeeded", "Failed"]);
            let node = tape.of(&NODES);
            let object = world.get(&place.0, &place.1);
            let ended = object.is_some_and(|one| {
                matches!(
                    one["status"]["phase"].as_str(),
                    Some("Succeeded" | "Failed")
                )
            });
            let bound = object.is_some_and(|one| one["spec"]["nodeName"].is_string());
            if !bound {
                world.edit(&place, &json!({"spec": {"nodeName": node}}));
            } else if !ended {
                let ready = if phase == "Running" { ready } else { "False" };
                world.edit(&place, &json!({"status": {"phase": phase, "podIP": "10.0.1.1", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}]}}));
            }
        }
        (_, kind) if *kind == Kind::DEPLOYMENT => {
            let patch = match tape.below(3) {
                0 => json!({"spec": {"replicas": tape.below(5)}}),
                1 => json!({"spec": {"paused": tape.one_in(2)}}),
                _ => {
                    let name = &place.1.name;
                    json!({"spec": {"template": template(name, tape.of(&["v1", "v2", "v3"]))}})
                }
            };
            world.edit(&place, &patch);
        }
        (_, kind) if *kind == Kind::STATEFUL_SET || *kind == Kind::DAEMON_SET => {
            let name = &place.1.name;
            let patch = match tape.below(2) {
                0 if *kind == Kind::STATEFUL_SET => json!({"spec": {"replicas": tape.below(4)}}),
                _ => json!({"spec": {"template": template(name, tape.of(&["v1", "v2", "v3"]))}}),
            };
            world.edit(&place, &patch);
        }
        (_, kind) if *kind == Kind::REPLICA_SET => {
            world.edit(&place, &json!({"spec": {"replicas": tape.below(5)}}));
        }
        (_, kind) if *kind == Kind::JOB => {
            let patch = match tape.below(2) {
                0 => json!({"spec": {"parallelism": tape.below(4)}}),
                _ => json!({"spec": {"suspend": tape.one_in(2)}}),
            };
            world.edit(&place, &patch);
        }
        (_, kind) if *kind == Kind::NODE => {
            let ready = tape.of(&["True", "False", "Unknown"]);
            world.edit(&place, &json!({"status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": now}]}}));
        }
        (_, kind) if *kind == Kind::LEASE => {
            world.edit(&place, &json!({"spec": {"renewTime": now}}));
        }
        _ => world.wait(1),
    }
}

/// When a world has been watched for long enough: the longest time that anything in it waits for.
pub fn horizon(world: &World) -> jiff::Timestamp {
    after(world.now, 1500)
}
