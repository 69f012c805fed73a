//! A pod's life when nothing goes wrong: created, Running, looked at, deleted.

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{Api, runtime::wait::await_condition};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, DEADLINE, NODE},
    objects::{api, container, is_ready, is_running, phase, pod, with},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_is_seen_and_goes() {
    let (cluster, agent) = Cluster::with_node().await;
    cluster.push("echoes").await;
    cluster.create::<Pod>(pod("p", "echoes")).await;
    let running = cluster
        .until("p", |pod| is_running(pod) && is_ready(pod))
        .await;
    let status = running.status.as_ref().unwrap();
    assert!(status.pod_ip.as_deref().unwrap().starts_with("10.244.0."));
    assert_eq!(status.host_ip.as_deref(), Some("127.0.0.1"));
    let main = container(&running).unwrap();
    assert!(
        main.container_id
            .as_deref()
            .unwrap()
            .starts_with("coracle://")
    );
    assert!(
        main.image_id.contains("echoes@sha256:"),
        "{}",
        main.image_id
    );
    assert_eq!((main.restart_count, main.started), (0, Some(true)));
    cluster.told("p", "Started: Started container main").await;

    // It answers at its address, and its log says so as it comes.
    let following = cluster.log("p", "follow=true&limitBytes=10").await;
    assert_eq!(following, "listening\n");
    let address = format!("{}:7", status.pod_ip.as_deref().unwrap());
    let connecting = async {
        let address = address.parse().unwrap();
        while agent.switch().connect_from_host(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, connecting)
        .await
        .expect("it takes connections");
    let (code, refused) = cluster
        .get("/api/v1/namespaces/default/pods/p/log?previous=true")
        .await;
    assert_eq!(code, 400, "{refused}");
    assert!(
        refused.contains("previous terminated container"),
        "{refused}"
    );

    cluster.delete("p").await;
    let left = std::fs::read_dir(cluster.node_dir().join("pods")).unwrap();
    assert_eq!(left.count(), 0, "volumes go with the pod");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_what_it_is_and_that_it_lives() {
    let (cluster, agent) = Cluster::with_node().await;
    let nodes: Api<Node> = Api::all(cluster.admin.clone());
    let ready = await_condition(nodes.clone(), NODE, |node: Option<&Node>| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| {
            all.iter()
                .any(|one| one.type_ == "Ready" && one.status == "True")
        })
    });
    let node = tokio::time::timeout(DEADLINE, ready).await.unwrap();
    let node = serde_json::to_value(node.unwrap().unwrap()).unwrap();
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], NODE);
    assert_eq!(node["status"]["capacity"]["pods"], "110");
    assert_eq!(node["status"]["allocatable"], node["status"]["capacity"]);
    assert_eq!(node["status"]["addresses"][0]["type"], "InternalIP");
    assert_eq!(node["status"]["nodeInfo"]["operatingSystem"], "linux");
    cluster.told(NODE, "NodeReady").await;
    let leases: Api<Lease> = Api::namespaced(cluster.admin.clone(), "kube-node-lease");
    let lease = await_condition(leases, NODE, |lease: Option<&Lease>| lease.is_some());
    let lease = tokio::time::timeout(DEADLINE, lease).await.unwrap();
    let spec = lease.unwrap().unwrap().spec.unwrap();
    assert_eq!(spec.lease_duration_seconds, Some(40));
    assert_eq!(spec.holder_identity.as_deref(), Some(NODE));

    agent.stop().await;
    let node = serde_json::to_value(nodes.get(NODE).await.unwrap()).unwrap();
    let conditions = node["status"]["conditions"].as_array().unwrap();
    let ready = conditions
        .iter()
        .find(|one| one["type"] == "Ready")
        .unwrap();
    assert_eq!(ready["status"], "False", "it says so when it goes: {ready}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_is_measured() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("spins").await;
    let limited = json!({ "limits": { "cpu": "200m" } });
    let spinning = with(
        pod("busy", "spins"),
        "/spec/containers/0/resources",
        limited,
    );
    cluster.create::<Pod>(spinning).await;
    cluster.until("busy", is_running).await;
    let nodes: Api<Node> = Api::all(cluster.admin.clone());
    let node = await_condition(nodes, NODE, |node: Option<&Node>| node.is_some());
    tokio::time::timeout(DEADLINE, node).await.unwrap().unwrap();
    let uri = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let measured = async {
        loop {
            let (code, text) = cluster.get(uri).await;
            assert_eq!(code, 200, "{text}");
            let list: Value = serde_json::from_str(&text).unwrap();
            let usage = &list["items"][0]["containers"][0]["usage"];
            let cpu = usage["cpu"].as_str().unwrap_or("0");
            if cpu != "0" {
                break usage.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let usage = tokio::time::timeout(DEADLINE, measured).await.unwrap();
    let cpu = usage["cpu"].as_str().unwrap();
    assert!(
        cpu.ends_with('n') || cpu.ends_with('m') || cpu.ends_with('u'),
        "{usage}"
    );
    assert_ne!(usage["memory"], "0", "{usage}");
    // It computes for ever and still ends when it is told to.
    cluster.delete("busy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_handler_answers_at_its_port_when_it_is_ready() {
    let (cluster, agent) = Cluster::with_node().await;
    cluster.push("hello-http").await;
    let probe = json!({ "httpGet": { "port": "http", "path": "/healthz" }, "periodSeconds": 1 });
    let web = with(
        pod("web", "hello-http"),
        "/spec/containers/0/ports",
        json!([{ "name": "http", "containerPort": 8080 }]),
    );
    let web = with(web, "/spec/containers/0/readinessProbe", probe);
    let web = with(
        web,
        "/spec/containers/0/env",
        json!([{ "name": "GREETING", "value": "ahoy" }]),
    );
    cluster.create::<Pod>(web).await;
    let ready = cluster.until("web", is_ready).await;
    let address = format!("{}:8080", ready.status.unwrap().pod_ip.unwrap());
    let stream = agent.switch().connect_from_host(address.parse().unwrap());
    let stream = hyper_util::rt::TokioIo::new(stream.await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/")
        .header("host", "web")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .unwrap();
    assert_eq!(&body.to_bytes()[..], b"ahoy from web\n");
    agent.stop().await;
    assert_eq!(
        phase(&cluster.pod("web").await),
        "Running",
        "it runs again with the next agent"
    );
    assert!(api::<Pod>(&cluster).get_opt("web").await.unwrap().is_some());
}
