//! What containers are given: environment, volumes, and what happens while something is missing.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    objects::{api, condition, is_running, phase, pod, state, waits_for, with},
};

/// Waits until a file is as wanted.
async fn follows(file: &std::path::Path, wanted: &str) {
    let seen = async {
        while std::fs::read_to_string(file).unwrap() != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::cluster::DEADLINE, seen)
        .await
        .expect("the file follows");
}

fn config_map(name: &str, data: Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": "default" }, "data": data })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_waits_for_the_config_map_that_it_needs() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("exits-with").await;
    let env = json!([{ "name": "GREETING", "valueFrom": { "configMapKeyRef": { "name": "words", "key": "greeting" } } }]);
    let greeting = with(pod("p", "exits-with"), "/spec/containers/0/env", env);
    let greeting = with(
        greeting,
        "/spec/containers/0/args",
        json!(["0", "$(GREETING)", "$$(GREETING)"]),
    );
    cluster
        .create::<Pod>(with(greeting, "/spec/restartPolicy", json!("Never")))
        .await;
    let waiting = cluster
        .until("p", |pod| {
            waits_for(pod) == Some("CreateContainerConfigError")
        })
        .await;
    let message = state(&waiting)
        .unwrap()
        .waiting
        .as_ref()
        .unwrap()
        .message
        .clone();
    assert_eq!(message.as_deref(), Some("configmap \"words\" not found"));
    cluster
        .told("p", "Failed: Error: configmap \"words\" not found")
        .await;
    cluster
        .create::<ConfigMap>(config_map("words", json!({ "greeting": "ahoy" })))
        .await;
    cluster.until("p", |pod| phase(pod) == "Succeeded").await;
    let log = cluster.log("p", "").await;
    assert!(log.contains("GREETING=ahoy"), "{log}");
    assert!(
        log.contains(r#"["main", "0", "ahoy", "$(GREETING)"]"#),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_are_made_of_objects_and_follow_them() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("uses-files").await;
    cluster.push("echoes").await;
    let volumes = json!([
        { "name": "data", "emptyDir": {} },
        { "name": "given", "projected": { "sources": [
            { "secret": { "name": "words", "items": [{ "key": "greeting", "path": "given" }] } },
            { "downwardAPI": { "items": [{ "path": "mood", "fieldRef": { "fieldPath": "metadata.labels['mood']" } }] } }
        ] } }
    ]);
    let mounts = json!([{ "name": "data", "mountPath": "/data" }, { "name": "given", "mountPath": "/readonly" }]);
    let files = |name: &str, guest: &str, policy: &str| {
        let files = with(pod(name, guest), "/spec/volumes", volumes.clone());
        let files = with(files, "/spec/restartPolicy", json!(policy));
        with(files, "/spec/containers/0/volumeMounts", mounts.clone())
    };
    cluster
        .create::<Pod>(files("once", "uses-files", "Never"))
        .await;
    cluster
        .create::<Pod>(files("stays", "echoes", "Always"))
        .await;
    // Nothing runs before the volumes are there.
    cluster.told("once", "FailedMount: MountVolume.SetUp failed for volume \"given\" : secret \"words\" not found").await;
    let secret = json!({ "metadata": { "name": "words", "namespace": "default" }, "stringData": { "greeting": "hello" } });
    cluster.create::<Secret>(secret).await;
    cluster.until("once", |pod| phase(pod) == "Succeeded").await;
    let log = cluster.log("once", "").await;
    for line in [
        "read kept",
        "readonly says hello",
        "write to readonly: true",
        "out by dots: true",
        "out by root: true",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let stays = cluster.until("stays", is_running).await;
    let given = cluster
        .node_dir()
        .join("pods")
        .join(stays.metadata.uid.unwrap())
        .join("volumes/given/given");
    assert_eq!(std::fs::read_to_string(&given).unwrap(), "hello");
    let changed = Patch::Merge(json!({ "stringData": { "greeting": "changed" } }));
    api::<Secret>(&cluster)
        .patch("words", &PatchParams::default(), &changed)
        .await
        .unwrap();
    follows(&given, "changed").await;
    let labels = Patch::Merge(json!({ "metadata": { "labels": { "mood": "good" } } }));
    api::<Pod>(&cluster)
        .patch("stays", &PatchParams::default(), &labels)
        .await
        .unwrap();
    follows(&given.with_file_name("mood"), "good").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_is_refused_by_name() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("echoes").await;
    let directory = with(
        pod("directory", "echoes"),
        "/spec/containers/0/workingDir",
        json!("/srv"),
    );
    cluster.create::<Pod>(directory).await;
    let aliases = json!([{ "ip": "10.0.0.1", "hostnames": ["x"] }]);
    let aliases = with(pod("aliases", "echoes"), "/spec/hostAliases", aliases);
    cluster.create::<Pod>(aliases).await;
    for (name, field) in [("directory", "workingDir"), ("aliases", "spec.hostAliases")] {
        let refused = cluster
            .until(name, |pod| {
                waits_for(pod) == Some("CreateContainerConfigError")
            })
            .await;
        let message = state(&refused)
            .unwrap()
            .waiting
            .as_ref()
            .unwrap()
            .message
            .clone()
            .unwrap();
        assert!(message.contains(field), "{message}");
        cluster.told(name, field).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_takes_no_more_than_it_has_room_for() {
    let cluster = Cluster::new().await;
    let _agent = cluster
        .join(|config| {
            config.capacity.cpu_millis = 1000;
            config.capacity.pods = 2;
        })
        .await;
    cluster.push("echoes").await;
    let asking = |name: &str, cpu: &str| {
        let requests = json!({ "requests": { "cpu": cpu } });
        with(
            pod(name, "echoes"),
            "/spec/containers/0/resources",
            requests,
        )
    };
    cluster.create::<Pod>(asking("a", "600m")).await;
    cluster.until("a", is_running).await;
    cluster.create::<Pod>(asking("b", "600m")).await;
    let refused = cluster.until("b", |pod| phase(pod) == "Failed").await;
    let status = refused.status.as_ref().unwrap();
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert!(
        status
            .message
            .as_deref()
            .unwrap()
            .contains("requested: 600, used: 600, capacity: 1000")
    );
    cluster.create::<Pod>(asking("c", "100m")).await;
    cluster.until("c", is_running).await;
    cluster.create::<Pod>(asking("d", "1m")).await;
    let refused = cluster.until("d", |pod| phase(pod) == "Failed").await;
    assert_eq!(refused.status.unwrap().reason.as_deref(), Some("OutOfpods"));
    // Room that is given back is given again.
    cluster.delete("a").await;
    cluster.create::<Pod>(asking("e", "600m")).await;
    let runs = cluster.until("e", is_running).await;
    assert_eq!(condition(&runs, "PodScheduled").as_deref(), Some("True"));
}
