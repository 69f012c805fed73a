//! Probes: what they gate and whom they end.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::{
    cluster::Cluster,
    objects::{condition, container, is_ready, is_running, pod, with},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_gates_the_pod() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("echoes").await;
    let probing = |name: &str, port: u16| {
        let probe = json!({ "tcpSocket": { "port": port }, "periodSeconds": 1 });
        with(
            pod(name, "echoes"),
            "/spec/containers/0/readinessProbe",
            probe,
        )
    };
    cluster.create::<Pod>(probing("open", 7)).await;
    cluster.create::<Pod>(probing("closed", 8)).await;
    cluster.until("open", is_ready).await;
    cluster
        .told("closed", "Unhealthy: Readiness probe failed: dial tcp")
        .await;
    let closed = cluster.until("closed", is_running).await;
    assert!(!is_ready(&closed) && !container(&closed).unwrap().ready);
    assert_eq!(
        condition(&closed, "ContainersReady").as_deref(),
        Some("False")
    );
    assert_eq!(container(&closed).unwrap().restart_count, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_alive_is_started_again() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("echoes").await;
    let probe =
        json!({ "httpGet": { "port": 9, "path": "/" }, "periodSeconds": 1, "failureThreshold": 1 });
    let dead = with(
        pod("dead", "echoes"),
        "/spec/containers/0/livenessProbe",
        probe,
    );
    cluster.create::<Pod>(dead).await;
    let again = cluster
        .until("dead", |pod| {
            container(pod).is_some_and(|one| one.restart_count >= 1)
        })
        .await;
    assert!(
        container(&again)
            .unwrap()
            .last_state
            .as_ref()
            .unwrap()
            .terminated
            .is_some()
    );
    cluster
        .told(
            "dead",
            "Killing: Container main failed liveness probe, will be restarted",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_begin_in_order_and_share_their_loopback() {
    let (cluster, _agent) = Cluster::with_node().await;
    for guest in ["echoes", "talks", "exits-with"] {
        cluster.push(guest).await;
    }
    let pod = with(
        pod("both", "talks"),
        "/spec/containers/0/args",
        json!(["127.0.0.1:7"]),
    );
    let pod = with(pod, "/spec/restartPolicy", json!("Never"));
    let inits = json!([
        { "name": "first", "image": "exits-with", "args": ["0"], "imagePullPolicy": "IfNotPresent" },
        { "name": "beside", "image": "echoes", "restartPolicy": "Always", "imagePullPolicy": "IfNotPresent",
          "startupProbe": { "tcpSocket": { "port": 7 }, "periodSeconds": 1 } }
    ]);
    cluster
        .create::<Pod>(with(pod, "/spec/initContainers", inits))
        .await;
    let done = cluster
        .until("both", |pod| crate::objects::phase(pod) == "Succeeded")
        .await;
    assert!(cluster.log("both", "").await.contains("talked"));
    assert!(
        cluster
            .log("both", "container=first")
            .await
            .contains("arguments")
    );
    let inits = done.status.unwrap().init_container_statuses.unwrap();
    let ended = |at: usize| inits[at].state.as_ref().unwrap().terminated.as_ref();
    assert_eq!(ended(0).unwrap().exit_code, 0);
    assert!(
        ended(1).is_some(),
        "what runs beside the others ends with them"
    );
}
