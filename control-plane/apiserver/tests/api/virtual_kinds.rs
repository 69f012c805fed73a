//! Kinds that are asked and not stored.

use axum::{Router, routing::get};
use coracle_apiserver::UserInfo;
use serde_json::json;

use crate::cluster::{Cluster, PODS, TABLE, pod};

const SELF: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const OTHER: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

#[tokio::test]
async fn the_authorizer_answers_reviews() {
    let cluster = Cluster::new().await;
    let asked = json!({"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "default"}}});
    let answer = cluster.post(SELF, &asked).await.expect(201);
    assert_eq!(
        (&answer["kind"], &answer["status"]["allowed"]),
        (&json!("SelfSubjectAccessReview"), &json!(true))
    );
    assert_eq!(answer["spec"], asked["spec"]);

    let of = |user: &str, groups: serde_json::Value| json!({"spec": {"user": user, "groups": groups, "nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
    let jane = cluster
        .post(OTHER, &of("jane", json!([])))
        .await
        .expect(201);
    assert_eq!(jane["status"], json!({"allowed": false}));
    let master = cluster
        .post(OTHER, &of("jane", json!(["system:masters"])))
        .await
        .expect(201);
    assert_eq!(master["status"], json!({"allowed": true}));
    cluster
        .post(OTHER, &of("", json!([])))
        .await
        .refused(422, "Invalid");
    cluster
        .post(SELF, &json!({"spec": {}}))
        .await
        .refused(422, "Invalid");
    cluster
        .post(SELF, &json!([]))
        .await
        .refused(400, "BadRequest");
}

#[tokio::test]
async fn everybody_is_told_who_they_are() {
    let mut cluster = Cluster::new().await;
    cluster.user = UserInfo {
        uid: Some("u1".to_owned()),
        extra: [("k".to_owned(), vec!["v".to_owned()])].into(),
        ..UserInfo::new("admin", ["system:masters"])
    };
    let uri = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = cluster.post(uri, &json!({})).await.expect(201);
    let info = &answer["status"]["userInfo"];
    assert_eq!(
        (&info["username"], &info["uid"], &info["extra"]),
        (&json!("admin"), &json!("u1"), &json!({"k": ["v"]}))
    );
    assert_eq!(
        info["groups"],
        json!(["system:masters", "system:authenticated"])
    );
}

#[tokio::test]
async fn measurements_come_from_the_nodes() {
    let cluster = Cluster::new().await;
    for node in ["n1", "n2"] {
        let object =
            json!({"metadata": {"name": node, "labels": {"kubernetes.io/hostname": node}}});
        cluster.post("/api/v1/nodes", &object).await.expect(201);
    }
    for (name, node) in [("p", "n1"), ("q", "n1"), ("r", "n2")] {
        let mut object = pod(name);
        object["spec"]["nodeName"] = json!(node);
        object["metadata"]["labels"] = json!({"app": name});
        cluster.post(PODS, &object).await.expect(201);
    }
    let uid = cluster.get(&format!("{PODS}/p")).await.expect(200)["metadata"]["uid"].clone();
    let stats = json!({
        "time": "2026-01-01T00:00:00Z", "window": "10s", "node": {"usageNanoCores": 250_000_000_u64, "workingSetBytes": 1_048_576},
        "pods": [
            {"namespace": "default", "name": "p", "uid": uid, "containers": [{"name": "main", "usageNanoCores": 1_500_000, "workingSetBytes": 4096}]},
            {"namespace": "default", "name": "q", "uid": "of an earlier pod", "containers": []},
        ],
    });
    cluster.attach(
        "n1",
        Router::new().route("/stats", get(async move || stats.to_string())),
    );

    let nodes = cluster
        .get("/apis/metrics.k8s.io/v1beta1/nodes")
        .await
        .expect(200);
    assert_eq!(nodes["kind"], "NodeMetricsList");
    let items = nodes["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "n2 cannot be asked");
    assert_eq!(
        items[0]["usage"],
        json!({"cpu": "250000000n", "memory": "1024Ki"})
    );
    assert_eq!(
        (&items[0]["window"], &items[0]["timestamp"]),
        (&json!("10s"), &json!("2026-01-01T00:00:00Z"))
    );
    assert_eq!(
        items[0]["metadata"]["labels"]["kubernetes.io/hostname"],
        "n1"
    );

    let uri = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let pods = cluster.get(uri).await.expect(200);
    assert_eq!(crate::cluster::names(&pods), ["p"]);
    let one = cluster.get(&format!("{uri}/p")).await.expect(200);
    assert_eq!(
        one["containers"],
        json!([{"name": "main", "usage": {"cpu": "1500000n", "memory": "4Ki"}}])
    );
    cluster
        .get(&format!("{uri}/q"))
        .await
        .refused(404, "NotFound");
    cluster
        .get(&format!("{uri}/none"))
        .await
        .refused(404, "NotFound");
    assert!(
        cluster
            .names(&format!("{uri}?labelSelector=app%3Dq"))
            .await
            .is_empty()
    );
    let table = cluster
        .get_as("/apis/metrics.k8s.io/v1beta1/nodes", TABLE)
        .await
        .expect(200);
    assert_eq!(table["rows"][0]["cells"][0], "n1");
    cluster
        .delete(&format!("{uri}/p"))
        .await
        .refused(405, "MethodNotAllowed");
}
