//! Deletion: finalizers, policies, preconditions, collections, namespaces.

use serde_json::json;

use crate::cluster::{CONFIG_MAPS, Cluster, config_map, version};

const A: &str = "/api/v1/namespaces/default/configmaps/a";

#[tokio::test]
async fn deletion_answers_with_what_was_deleted() {
    let cluster = Cluster::new().await;
    let object = cluster.config_map("a", json!({})).await;
    let status = cluster.delete(A).await.expect(200);
    assert_eq!(status["status"], "Success");
    assert_eq!(
        status["details"],
        json!({"name": "a", "kind": "configmaps", "uid": object["metadata"]["uid"]})
    );
    cluster.delete(A).await.refused(404, "NotFound");
}

#[tokio::test]
async fn finalizers_keep_an_object_until_the_last_is_gone() {
    let cluster = Cluster::new().await;
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    cluster.post(CONFIG_MAPS, &object).await.expect(201);
    let marked = cluster.delete(A).await.expect(200);
    assert_eq!(marked["kind"], "ConfigMap");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = cluster.delete(A).await.expect(200);
    assert_eq!(version(&again), version(&marked), "nothing changes");

    let more =
        json!({"metadata": {"finalizers": ["example.com/a", "example.com/b", "example.com/c"]}});
    let message = cluster
        .patch(A, "merge", &more)
        .await
        .refused(422, "Invalid");
    assert!(
        message.contains("no new finalizers can be added if the object is being deleted"),
        "{message}"
    );
    let one = json!({"metadata": {"finalizers": ["example.com/b"]}});
    cluster.patch(A, "merge", &one).await.expect(200);
    cluster.get(A).await.expect(200);
    let mut watch = cluster
        .watch(&format!(
            "{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name=a"
        ))
        .await;
    assert_eq!(watch.told().await, "ADDED a");
    cluster
        .patch(A, "merge", &json!({"metadata": {"finalizers": null}}))
        .await
        .expect(200);
    assert_eq!(watch.told().await, "DELETED a");
    cluster.get(A).await.refused(404, "NotFound");
}

#[tokio::test]
async fn policies_become_finalizers() {
    let cluster = Cluster::new().await;
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        cluster.config_map("a", json!({})).await;
        let options =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        let marked = cluster.delete_with(A, &options).await.expect(200);
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        cluster
            .patch(A, "merge", &json!({"metadata": {"finalizers": null}}))
            .await
            .expect(200);
        cluster.get(A).await.refused(404, "NotFound");
    }
    cluster.config_map("a", json!({})).await;
    let gone = cluster
        .delete(&format!("{A}?propagationPolicy=Background"))
        .await
        .expect(200);
    assert_eq!(gone["status"], "Success");
}

#[tokio::test]
async fn preconditions_hold_or_nothing_happens() {
    let cluster = Cluster::new().await;
    let object = cluster.config_map("a", json!({})).await;
    let wrong = json!({"preconditions": {"uid": "11111111-1111-1111-1111-111111111111"}});
    let message = cluster
        .delete_with(A, &wrong)
        .await
        .refused(409, "Conflict");
    assert!(
        message.contains("Precondition failed: UID in precondition"),
        "{message}"
    );
    let wrong = json!({"preconditions": {"resourceVersion": "1"}});
    cluster
        .delete_with(A, &wrong)
        .await
        .refused(409, "Conflict");
    let right = json!({"preconditions": {"uid": object["metadata"]["uid"], "resourceVersion": object["metadata"]["resourceVersion"]}});
    cluster.delete_with(A, &right).await.expect(200);
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    cluster.delete(&format!("{A}?dryRun=All")).await.expect(200);
    cluster
        .delete_with(A, &json!({"dryRun": ["All"]}))
        .await
        .expect(200);
    cluster.get(A).await.expect(200);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::new().await;
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        cluster.config_map(name, json!({"app": app})).await;
    }
    let status = cluster
        .delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dx"))
        .await
        .expect(200);
    assert_eq!(status["status"], "Success");
    assert_eq!(cluster.names(CONFIG_MAPS).await, ["c"]);
    cluster.delete(CONFIG_MAPS).await.expect(200);
    assert!(cluster.names(CONFIG_MAPS).await.is_empty());
}

#[tokio::test]
async fn a_namespace_terminates_until_it_is_finalized() {
    let cluster = Cluster::new().await;
    let uri = "/api/v1/namespaces/team";
    let namespace = json!({"metadata": {"name": "team"}});
    cluster
        .post("/api/v1/namespaces", &namespace)
        .await
        .expect(201);
    let marked = cluster.delete(uri).await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());

    let mut unfinalized = marked.clone();
    unfinalized["spec"]["finalizers"] = json!([]);
    let kept = cluster.put(uri, &unfinalized).await.expect(200);
    assert_eq!(
        kept["spec"]["finalizers"],
        json!(["kubernetes"]),
        "through finalize only"
    );
    cluster
        .put(&format!("{uri}/finalize"), &unfinalized)
        .await
        .expect(200);
    cluster.get(uri).await.refused(404, "NotFound");
    for name in ["default", "kube-system", "kube-public"] {
        let refused = cluster.delete(&format!("/api/v1/namespaces/{name}")).await;
        assert!(
            refused
                .refused(403, "Forbidden")
                .contains("this namespace may not be deleted")
        );
    }
}
