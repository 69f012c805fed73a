//! Objects in protobuf, in and out: what Go clients and kubectl since 1.32 send.

use axum::body::Body;
use coracle_api::protobuf;
use futures::StreamExt as _;
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    cluster::{Answer, CONFIG_MAPS, Cluster, DEPLOYMENTS, PODS, deployment, pod},
    frames::DEADLINE,
};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const BOTH: &str = "application/vnd.kubernetes.protobuf,application/json";

async fn send(cluster: &Cluster, method: Method, uri: &str, object: &Value) -> Answer {
    let body = protobuf::encode(object).unwrap().unwrap();
    let headers = [("content-type", PROTOBUF), ("accept", BOTH)];
    cluster.request(method, uri, &headers, body).await
}

fn decoded(answer: &Answer, code: u16) -> Value {
    assert_eq!(
        answer.header("content-type"),
        Some(PROTOBUF),
        "{:?}",
        answer.bytes
    );
    let value = protobuf::decode(&answer.bytes, ("", "")).unwrap();
    assert_eq!(answer.code, code, "{value}");
    value
}

#[tokio::test]
async fn an_object_lives_through_protobuf() {
    let cluster = Cluster::new().await;
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": deployment("web")["spec"]});
    let created = decoded(&send(&cluster, Method::POST, DEPLOYMENTS, &web).await, 201);
    let uri = format!("{DEPLOYMENTS}/web");
    let stored = cluster.get(&uri).await.expect(200);
    assert_eq!(created, stored, "both forms say the same");
    let read = cluster.get_as(&uri, BOTH).await;
    assert_eq!(decoded(&read, 200), stored);

    let mut changed = stored.clone();
    changed["spec"]["replicas"] = json!(7);
    let changed = decoded(&send(&cluster, Method::PUT, &uri, &changed).await, 200);
    assert_eq!(changed["spec"]["replicas"], 7);

    let mut scale = cluster.get(&format!("{uri}/scale")).await.expect(200);
    scale["spec"]["replicas"] = json!(3);
    let scale = send(&cluster, Method::PUT, &format!("{uri}/scale"), &scale).await;
    assert_eq!(decoded(&scale, 200)["spec"]["replicas"], 3);

    let list = decoded(&cluster.get_as(DEPLOYMENTS, BOTH).await, 200);
    let json = cluster.get(DEPLOYMENTS).await.expect(200);
    assert_eq!(list["kind"], "DeploymentList");
    assert_eq!(list["metadata"], json["metadata"]);
    let bare = |item: &Value| (item["metadata"].clone(), item["spec"].clone());
    assert_eq!(bare(&list["items"][0]), bare(&json["items"][0]));

    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": {"uid": stored["metadata"]["uid"]}});
    let deleted = decoded(&send(&cluster, Method::DELETE, &uri, &options).await, 200);
    assert_eq!(
        (&deleted["kind"], &deleted["status"]),
        (&json!("Status"), &json!("Success"))
    );
    let gone = decoded(&cluster.get_as(&uri, BOTH).await, 404);
    assert_eq!(
        (&gone["reason"], &gone["code"]),
        (&json!("NotFound"), &json!(404))
    );
    assert_eq!(gone["details"]["name"], "web");
}

#[tokio::test]
async fn subresources_and_reviews_take_protobuf() {
    let cluster = Cluster::new().await;
    cluster.post(PODS, &pod("p")).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let bound = send(
        &cluster,
        Method::POST,
        &format!("{PODS}/p/binding"),
        &binding,
    )
    .await;
    assert_eq!(decoded(&bound, 201)["status"], "Success");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0}});
    let evicted = send(
        &cluster,
        Method::POST,
        &format!("{PODS}/p/eviction"),
        &eviction,
    )
    .await;
    assert_eq!(decoded(&evicted, 201)["status"], "Success");

    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = decoded(&send(&cluster, Method::POST, uri, &review).await, 201);
    assert_eq!(answer["status"]["allowed"], true);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let uri = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = decoded(&send(&cluster, Method::POST, uri, &review).await, 201);
    assert_eq!(answer["status"]["userInfo"]["username"], "admin");
}

#[tokio::test]
async fn metadata_alone_comes_in_protobuf_and_tables_do_not() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({"x": "y"})).await;
    let partial =
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = decoded(&cluster.get_as(CONFIG_MAPS, partial).await, 200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["labels"], json!({"x": "y"}));
    assert_eq!(list["items"][0].get("data"), None);
    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1";
    assert_eq!(
        cluster.get_as(CONFIG_MAPS, table).await.expect(200)["kind"],
        "Table"
    );
}

#[tokio::test]
async fn a_watch_comes_in_frames_with_their_lengths() {
    let cluster = Cluster::with_history(4).await;
    cluster.config_map("a", json!({})).await;
    let request = Request::get(format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    ));
    let request = request.header("accept", BOTH).body(Body::empty()).unwrap();
    let response = cluster.send(request).await;
    let stream = format!("{PROTOBUF};stream=watch");
    assert_eq!(response.headers()["content-type"], stream.as_str());
    let mut chunks = response.into_body().into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = timeout(DEADLINE, chunks.next()).await.unwrap() {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    let mut told = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        let frame: Vec<u8> = bytes.drain(..4 + len).collect();
        // The object stands behind the type, in two wrappers; its own head marks where.
        let at = frame
            .windows(4)
            .position(|window| window == b"k8s\0")
            .unwrap();
        let object = protobuf::decode(&frame[at..], ("", "")).unwrap();
        let kind = String::from_utf8_lossy(&frame[6..6 + usize::from(frame[5])]).into_owned();
        told.push((kind, object));
    }
    assert_eq!(
        (told[0].0.as_str(), &told[0].1["data"]),
        ("ADDED", &json!({"a": "1"}))
    );
    assert_eq!(told[1].0, "BOOKMARK");
    assert_eq!(
        told[1].1["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );

    for n in 0..20 {
        cluster.config_map(&format!("c{n}"), json!({})).await;
    }
    let old = cluster
        .get_as(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=1"), BOTH)
        .await;
    let at = old
        .bytes
        .windows(4)
        .position(|window| window == b"k8s\0")
        .unwrap();
    let status = protobuf::decode(&old.bytes[at..], ("", "")).unwrap();
    assert_eq!(
        (&status["reason"], &status["code"]),
        (&json!("Expired"), &json!(410))
    );
}

#[tokio::test]
async fn bad_protobuf_is_a_bad_request() {
    let cluster = Cluster::new().await;
    let headers = [("content-type", PROTOBUF)];
    for (body, told) in [
        (&b"{}"[..], "expected prefix [107 56 115 0] (7b7d)"),
        (b"", "empty data (<empty>)"),
        (b"k8s\0\x0a\x7f", "unexpected EOF (6b3873000a7f)"),
    ] {
        let answer = cluster
            .request(Method::POST, CONFIG_MAPS, &headers, body)
            .await;
        let message = answer.refused(400, "BadRequest");
        assert!(
            message
                .starts_with("the object provided is unrecognized (must be of type ConfigMap): "),
            "{message}"
        );
        assert!(message.ends_with(told), "{message}");
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let body = protobuf::encode(&secret).unwrap().unwrap();
    let answer = cluster
        .request(Method::POST, CONFIG_MAPS, &headers, body)
        .await;
    let message = answer.refused(400, "BadRequest");
    assert!(
        message.contains("Secret in version \"v1\" cannot be handled as a ConfigMap"),
        "{message}"
    );
}
