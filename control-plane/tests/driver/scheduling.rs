//! The scheduler at work on the real API server: pods that wait, events that wake them, places that are taken from others.

use std::sync::Arc;

use coracle_apiserver::{UserInfo, ambient::System};
use coracle_control_plane::scheduler_loop::{SchedulerLoop, USER};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, EVENTS, PODS};

const NODES: &str = "/api/v1/nodes";

struct Scheduling {
    cluster: Cluster,
    scheduler: SchedulerLoop,
    stop: CancellationToken,
}

impl Scheduling {
    async fn new() -> Self {
        let cluster = Cluster::new().await;
        let stop = CancellationToken::new();
        let client = cluster
            .server
            .client(UserInfo::new(USER, ["system:masters"]));
        let scheduler = SchedulerLoop::start(client, Arc::new(System), stop.clone());
        Self {
            cluster,
            scheduler,
            stop,
        }
    }

    async fn node(&self, name: &str, cpu: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        self.cluster.create(NODES, &node).await;
        let status = json!({"status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}, "capacity": {"cpu": cpu, "memory": "1Gi", "pods": "10"}}});
        self.cluster
            .patch(&format!("{NODES}/{name}/status"), &status)
            .await;
    }

    async fn pod(&self, name: &str, cpu: &str, more: Value) {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": "hello:v1", "resources": {"requests": {"cpu": cpu}}}]}});
        for (key, value) in more.as_object().into_iter().flatten() {
            pod["spec"][key] = value.clone();
        }
        self.cluster.create(PODS, &pod).await;
    }

    async fn is_on(&self, name: &str, node: &str) {
        let uri = format!("{PODS}/{name}");
        self.cluster
            .becomes(&uri, |pod| pod["spec"]["nodeName"] == node)
            .await;
    }

    /// Waits until a pod says that it cannot be placed, and why in these words. It may have said others before all nodes were seen.
    async fn is_refused(&self, name: &str, words: &str) {
        let uri = format!("{PODS}/{name}");
        let says = |pod: &Value| {
            let all = pod["status"]["conditions"].as_array();
            all.into_iter().flatten().any(|one| {
                let message = one["message"].as_str().unwrap_or_default();
                one["type"] == "PodScheduled" && one["status"] == "False" && message.contains(words)
            })
        };
        self.cluster.becomes(&uri, says).await;
    }

    /// Waits for an event with a reason.
    async fn is_told(&self, reason: &str) {
        let found = self.cluster.until(reason, async || {
            let events = self.cluster.list(EVENTS).await;
            let is = events.iter().any(|one| one["reason"] == reason);
            if is { Ok(()) } else { Err(json!(events)) }
        });
        found.await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.scheduler.stopped().await;
        self.cluster.stop().await;
    }
}

#[tokio::test]
async fn a_pod_waits_until_there_is_room_and_says_why() {
    let scheduling = Scheduling::new().await;
    scheduling.node("small", "500m").await;
    scheduling.pod("big", "2", json!({})).await;
    let words = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    scheduling.is_refused("big", words).await;
    scheduling.node("large", "4").await;
    scheduling.is_on("big", "large").await;
    scheduling.is_told("FailedScheduling").await;
    scheduling.stop().await;
}

#[tokio::test]
async fn a_pod_that_must_be_near_another_waits_for_it() {
    let scheduling = Scheduling::new().await;
    for name in ["a", "b", "c"] {
        scheduling.node(name, "4").await;
    }
    let term = json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    scheduling.pod("web", "100m", near).await;
    scheduling
        .is_refused("web", "3 node(s) didn't match pod affinity rules")
        .await;
    scheduling
        .pod(
            "db",
            "100m",
            json!({"nodeSelector": {"kubernetes.io/hostname": "b"}}),
        )
        .await;
    scheduling.is_on("web", "b").await;
    scheduling.stop().await;
}

#[tokio::test]
async fn a_gated_pod_is_not_decided() {
    let scheduling = Scheduling::new().await;
    scheduling.node("n", "4").await;
    scheduling
        .pod(
            "gated",
            "100m",
            json!({"schedulingGates": [{"name": "example.com/wait"}]}),
        )
        .await;
    scheduling.pod("other", "100m", json!({})).await;
    scheduling.is_on("other", "n").await;
    let gated = scheduling
        .cluster
        .get(&format!("{PODS}/gated"))
        .await
        .unwrap();
    assert_eq!(gated["spec"]["nodeName"], json!(null));
    scheduling.stop().await;
}

#[tokio::test]
async fn a_pod_of_higher_priority_takes_the_place_of_another() {
    let scheduling = Scheduling::new().await;
    scheduling.node("n", "1").await;
    let priority =
        |priority: i32| json!({"priority": priority, "terminationGracePeriodSeconds": 30});
    scheduling.pod("low", "800m", priority(1)).await;
    scheduling.is_on("low", "n").await;
    scheduling.pod("high", "800m", priority(10)).await;
    let high = format!("{PODS}/high");
    scheduling
        .cluster
        .becomes(&high, |pod| pod["status"]["nominatedNodeName"] == "n")
        .await;
    let low = format!("{PODS}/low");
    let ending = scheduling
        .cluster
        .becomes(&low, |pod| pod["metadata"]["deletionTimestamp"].is_string())
        .await;
    let disrupted = ending["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .any(|one| one["reason"] == "PreemptionByScheduler");
    assert!(disrupted, "{ending:#}");
    // Who comes in between does not get the place.
    scheduling.pod("between", "800m", priority(5)).await;
    scheduling.is_refused("between", "Insufficient cpu").await;
    scheduling
        .cluster
        .delete(&low, json!({"gracePeriodSeconds": 0}))
        .await;
    scheduling.is_on("high", "n").await;
    scheduling.is_told("Preempted").await;
    scheduling.stop().await;
}
