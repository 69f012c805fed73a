//! Replacement, the status subresource, generations.

use serde_json::json;

use crate::cluster::{CONFIG_MAPS, Cluster, DEPLOYMENTS, deployment, version};

const A: &str = "/api/v1/namespaces/default/configmaps/a";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const WEB_STATUS: &str = "/apis/apps/v1/namespaces/default/deployments/web/status";

#[tokio::test]
async fn a_stale_writer_is_refused() {
    let cluster = Cluster::new().await;
    let first = cluster.config_map("a", json!({})).await;
    let mut second = first.clone();
    second["data"]["a"] = json!("2");
    let second = cluster.put(A, &second).await.expect(200);
    assert!(version(&second) > version(&first));
    let stale = cluster.put(A, &first).await;
    assert_eq!(
        stale.refused(409, "Conflict"),
        r#"Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#
    );
    let mut blind = first;
    blind["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let blind = cluster.put(A, &blind).await.expect(200);
    assert_eq!(blind["data"]["a"], "1", "unconditional");
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let cluster = Cluster::new().await;
    let first = cluster.config_map("a", json!({})).await;
    let before = cluster.store.revision();
    let same = cluster.put(A, &first).await.expect(200);
    assert_eq!(same, first);
    assert_eq!(cluster.store.revision(), before);
}

#[tokio::test]
async fn identity_cannot_be_changed() {
    let cluster = Cluster::new().await;
    let first = cluster.config_map("a", json!({})).await;
    let mut other = first.clone();
    other["metadata"]["uid"] = json!("11111111-1111-1111-1111-111111111111");
    let message = cluster.put(A, &other).await.refused(409, "Conflict");
    assert!(
        message.contains("Precondition failed: UID in precondition: 1111"),
        "{message}"
    );
    let mut other = first.clone();
    other["metadata"]["name"] = json!("b");
    let message = cluster.put(A, &other).await.refused(400, "BadRequest");
    assert_eq!(
        message,
        "the name of the object (b) does not match the name on the URL (a)"
    );
    let mut later = first.clone();
    later["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    later["metadata"]["deletionTimestamp"] = json!("2001-01-01T00:00:00Z");
    later["data"]["a"] = json!("2");
    let stored = cluster.put(A, &later).await.expect(200);
    assert_eq!(
        stored["metadata"]["creationTimestamp"],
        first["metadata"]["creationTimestamp"]
    );
    assert!(stored["metadata"].get("deletionTimestamp").is_none());
    cluster
        .put(
            "/api/v1/namespaces/default/configmaps/none",
            &json!({"metadata": {"name": "none"}}),
        )
        .await
        .refused(404, "NotFound");
    cluster
        .put(CONFIG_MAPS, &first)
        .await
        .refused(405, "MethodNotAllowed");
}

#[tokio::test]
async fn spec_and_status_are_written_apart() {
    let cluster = Cluster::new().await;
    let mut object = cluster
        .post(DEPLOYMENTS, &deployment("web"))
        .await
        .expect(201);
    object["spec"]["replicas"] = json!(3);
    object["status"] = json!({"replicas": 9});
    let object = cluster.put(WEB, &object).await.expect(200);
    assert_eq!(
        (
            &object["spec"]["replicas"],
            &object["metadata"]["generation"]
        ),
        (&json!(3), &json!(2))
    );
    assert!(object["status"].get("replicas").is_none());

    let mut status = object.clone();
    status["spec"]["replicas"] = json!(7);
    status["metadata"]["labels"] = json!({"x": "y"});
    status["status"] = json!({"replicas": 2, "observedGeneration": 2});
    let status = cluster.put(WEB_STATUS, &status).await.expect(200);
    assert_eq!(status["spec"]["replicas"], 3);
    assert_eq!(status["metadata"]["labels"], object["metadata"]["labels"]);
    assert_eq!(
        status["status"],
        json!({"replicas": 2, "observedGeneration": 2})
    );
    assert_eq!(
        status["metadata"]["generation"], 2,
        "status is not wanted but found"
    );
    assert_eq!(cluster.get(WEB_STATUS).await.expect(200), status);

    let labelled = cluster
        .patch(
            WEB,
            "merge",
            &json!({"metadata": {"labels": {"x": "y"}}, "status": null}),
        )
        .await
        .expect(200);
    assert_eq!(
        labelled["metadata"]["generation"], 2,
        "labels are not wanted state"
    );
    assert_eq!(labelled["status"]["replicas"], 2);
    let patched = cluster
        .patch(
            WEB_STATUS,
            "merge",
            &json!({"status": {"replicas": 1}, "spec": {"replicas": 5}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&patched["status"]["replicas"], &patched["spec"]["replicas"]),
        (&json!(1), &json!(3))
    );
    cluster
        .get(&format!("{A}/status"))
        .await
        .refused(404, "NotFound");
}

#[tokio::test]
async fn invalid_and_immutable_fields_are_refused() {
    let cluster = Cluster::new().await;
    let object = cluster
        .post(DEPLOYMENTS, &deployment("web"))
        .await
        .expect(201);
    let mut negative = object.clone();
    negative["spec"]["replicas"] = json!(-1);
    let message = cluster.put(WEB, &negative).await.refused(422, "Invalid");
    assert!(
        message
            .starts_with(r#"Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1"#),
        "{message}"
    );
    let mut reselected = object;
    reselected["spec"]["selector"]["matchLabels"] = json!({"app": "web", "tier": "x"});
    reselected["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "tier": "x"});
    let message = cluster.put(WEB, &reselected).await.refused(422, "Invalid");
    assert!(
        message.contains("spec.selector: Invalid value") && message.contains("field is immutable"),
        "{message}"
    );
}

#[tokio::test]
async fn a_dry_run_update_shows_and_keeps() {
    let cluster = Cluster::new().await;
    let mut object = cluster.config_map("a", json!({})).await;
    object["data"]["a"] = json!("2");
    let shown = cluster
        .put(&format!("{A}?dryRun=All"), &object)
        .await
        .expect(200);
    assert_eq!(
        (&shown["data"]["a"], version(&shown)),
        (&json!("2"), version(&object))
    );
    assert_eq!(cluster.get(A).await.expect(200)["data"]["a"], "1");
}

#[tokio::test]
async fn leases_are_not_replaced_blindly() {
    let cluster = Cluster::new().await;
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 10}});
    let uri = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    cluster.post(uri, &lease).await.expect(201);
    let blind = cluster.put(&format!("{uri}/l"), &lease).await;
    let message = blind.refused(422, "Invalid");
    assert!(
        message.contains(
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        ),
        "{message}"
    );
}
