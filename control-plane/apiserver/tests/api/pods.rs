//! What pods have beyond other kinds: graceful deletion, binding, eviction, logs.

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery},
    routing::get,
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PODS, pod};

const P: &str = "/api/v1/namespaces/default/pods/p";

async fn bound(cluster: &Cluster) -> Value {
    cluster.post(PODS, &pod("p")).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let status = cluster
        .post(&format!("{P}/binding"), &binding)
        .await
        .expect(201);
    assert_eq!(status["status"], "Success");
    cluster.get(P).await.expect(200)
}

#[tokio::test]
async fn an_unscheduled_pod_goes_at_once() {
    let cluster = Cluster::new().await;
    let created = cluster.post(PODS, &pod("p")).await.expect(201);
    assert_eq!(created["status"]["phase"], "Pending");
    assert_eq!(created["spec"]["serviceAccountName"], "default");
    let status = cluster
        .delete_with(P, &json!({"gracePeriodSeconds": 1}))
        .await
        .expect(200);
    assert_eq!(status["status"], "Success");
    cluster.get(P).await.refused(404, "NotFound");
}

#[tokio::test]
async fn a_scheduled_pod_goes_when_its_node_confirms() {
    let cluster = Cluster::new().await;
    bound(&cluster).await;
    let marked = cluster.delete(P).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = cluster
        .delete(&format!("{P}?gracePeriodSeconds=5"))
        .await
        .expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let longer = cluster
        .delete(&format!("{P}?gracePeriodSeconds=60"))
        .await
        .expect(200);
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 5);
    let status = cluster
        .patch(
            &format!("{P}/status"),
            "merge",
            &json!({"status": {"phase": "Failed"}}),
        )
        .await
        .expect(200);
    assert_eq!(status["status"]["phase"], "Failed");
    let confirmed = cluster
        .delete_with(
            P,
            &json!({"gracePeriodSeconds": 0, "preconditions": {"uid": marked["metadata"]["uid"]}}),
        )
        .await;
    assert_eq!(confirmed.expect(200)["status"], "Success");
    cluster.get(P).await.refused(404, "NotFound");
}

#[tokio::test]
async fn binding_assigns_a_pod_once() {
    let cluster = Cluster::new().await;
    let pod = bound(&cluster).await;
    assert_eq!(pod["spec"]["nodeName"], "n1");
    let scheduled = &pod["status"]["conditions"][0];
    assert_eq!(
        (&scheduled["type"], &scheduled["status"]),
        (&json!("PodScheduled"), &json!("True"))
    );
    let other = json!({"target": {"name": "n2"}});
    let message = cluster
        .post(&format!("{P}/binding"), &other)
        .await
        .refused(409, "Conflict");
    assert!(
        message.contains(r#"pod p is already assigned to node "n1""#),
        "{message}"
    );
    cluster
        .get(&format!("{P}/binding"))
        .await
        .refused(405, "MethodNotAllowed");
}

#[tokio::test]
async fn eviction_is_a_deletion() {
    let cluster = Cluster::new().await;
    bound(&cluster).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 7}});
    cluster
        .post(&format!("{P}/eviction"), &eviction)
        .await
        .expect(201);
    let marked = cluster.get(P).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 7);
    let wrong = json!({"metadata": {"name": "q"}});
    cluster
        .post(&format!("{P}/eviction"), &wrong)
        .await
        .refused(400, "BadRequest");
}

/// A node whose logs say what they were asked for.
fn node() -> Router {
    let log = |Path((namespace, pod, container)): Path<(String, String, String)>,
               RawQuery(query): RawQuery| async move {
        match container.as_str() {
            "main" => (
                StatusCode::OK,
                format!(
                    "{namespace} {pod} {container} {}\n",
                    query.unwrap_or_default()
                ),
            ),
            _ => (
                StatusCode::BAD_REQUEST,
                format!("container {container} is waiting to start"),
            ),
        }
    };
    Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(log))
}

#[tokio::test]
async fn logs_come_from_the_node() {
    let cluster = Cluster::new().await;
    cluster.post(PODS, &pod("p")).await.expect(201);
    let message = cluster
        .get(&format!("{P}/log"))
        .await
        .refused(400, "BadRequest");
    assert_eq!(message, "pod p does not have a host assigned");
    cluster.delete(P).await.expect(200);
    bound(&cluster).await;
    cluster
        .get(&format!("{P}/log"))
        .await
        .refused(503, "ServiceUnavailable");
    cluster.attach("n1", node());
    let log = cluster
        .get(&format!("{P}/log?tailLines=5&timestamps=true&hostile=x"))
        .await;
    assert_eq!(log.code, 200);
    assert_eq!(
        log.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(log.bytes, "default p main tailLines=5&timestamps=true\n");
    cluster
        .get(&format!("{P}/log?container=other"))
        .await
        .refused(400, "BadRequest");
    cluster
        .get(&format!("{P}/log?tailLines=x"))
        .await
        .refused(400, "BadRequest");
    cluster
        .get("/api/v1/namespaces/default/pods/none/log")
        .await
        .refused(404, "NotFound");
}

#[tokio::test]
async fn a_nodes_refusal_is_passed_on() {
    let cluster = Cluster::new().await;
    let mut two = pod("p");
    two["spec"]["containers"][0]["name"] = json!("other");
    two["spec"]["nodeName"] = json!("n1");
    cluster.post(PODS, &two).await.expect(201);
    cluster.attach("n1", node());
    let message = cluster
        .get(&format!("{P}/log"))
        .await
        .refused(400, "BadRequest");
    assert_eq!(message, "container other is waiting to start");
}

#[tokio::test]
async fn logs_are_followed_while_they_are_written() {
    let cluster = Cluster::new().await;
    bound(&cluster).await;
    let (lines, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
    let follow = move || {
        let receiver = std::sync::Arc::clone(&receiver);
        async move {
            Body::from_stream(futures::stream::unfold(receiver, |receiver| async move {
                let line = receiver.lock().await.recv().await?;
                Some((Ok::<_, std::convert::Infallible>(line), receiver))
            }))
        }
    };
    cluster.attach(
        "n1",
        Router::new().route("/containerLogs/default/p/main", get(follow)),
    );
    let request = Request::get(format!("{P}/log?follow=true"))
        .body(Body::empty())
        .unwrap();
    let mut body = cluster.send(request).await.into_body().into_data_stream();
    for line in ["one\n", "two\n"] {
        lines.send(Bytes::from(line)).await.unwrap();
        let got = tokio::time::timeout(crate::frames::DEADLINE, body.next())
            .await
            .unwrap();
        assert_eq!(got.unwrap().unwrap(), line);
    }
    drop(lines);
    assert!(body.next().await.is_none());
}
