//! Deployments, ReplicaSets and Jobs, from the object to its pods and back.

use serde_json::json;

use crate::cluster::{
    Cluster, DEPLOYMENTS, PODS, SETS, any, deployment, is_owned, name, template, uid, uri_of,
};

#[tokio::test]
async fn a_deployment_makes_a_set_and_its_pods() {
    let cluster = Cluster::new().await;
    let deployment = cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    let pods = cluster.count(PODS, 3, is_owned).await;
    let sets = cluster.count(SETS, 1, is_owned).await;
    let owner = &sets[0]["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], deployment["metadata"]["uid"]);
    assert!(name(&pods[0]).starts_with(&format!("{}-", name(&sets[0]))));
    for (n, pod) in pods.iter().enumerate() {
        cluster
            .pod_is(pod, "Running", true, &format!("10.0.0.{n}"))
            .await;
    }
    let uri = format!("{DEPLOYMENTS}/web");
    cluster
        .becomes(&uri, |one| one["status"]["availableReplicas"] == 3)
        .await;
    cluster.quiet().await;
    assert_eq!(cluster.list(PODS).await.len(), 3);
    cluster.stop().await;
}

#[tokio::test]
async fn a_pod_that_goes_is_replaced() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    let pods = cluster.count(PODS, 3, is_owned).await;
    cluster
        .delete(&uri_of(&pods[1], "/api/v1", "pods"), json!({}))
        .await;
    let lost = uid(&pods[1]);
    cluster.count(PODS, 3, |pod| uid(pod) != lost).await;
    cluster.quiet().await;
    assert_eq!(cluster.list(PODS).await.len(), 3);
    cluster.stop().await;
}

#[tokio::test]
async fn a_set_grows_and_shrinks_by_hundreds_and_never_too_far() {
    let cluster = Cluster::new().await;
    let mut many = deployment("web", 700);
    many["kind"] = json!("ReplicaSet");
    cluster.create(SETS, &many).await;
    // One plan makes 500 at most, and the next must have seen them all.
    cluster.count(PODS, 700, is_owned).await;
    cluster.quiet().await;
    assert_eq!(cluster.list(PODS).await.len(), 700);
    let uri = format!("{SETS}/web");
    cluster
        .becomes(&uri, |one| one["status"]["replicas"] == 700)
        .await;
    cluster
        .patch(&uri, &json!({"spec": {"replicas": 50}}))
        .await;
    cluster.count(PODS, 50, any).await;
    cluster.quiet().await;
    assert_eq!(cluster.list(PODS).await.len(), 50);
    cluster.stop().await;
}

#[tokio::test]
async fn a_rollout_replaces_pods_as_they_become_ready() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 2)).await;
    let pods = cluster.count(PODS, 2, is_owned).await;
    for pod in &pods {
        cluster.pod_is(pod, "Running", true, "10.0.0.1").await;
    }
    let uri = format!("{DEPLOYMENTS}/web");
    cluster
        .becomes(&uri, |one| one["status"]["availableReplicas"] == 2)
        .await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "hello:v2"}]}}}});
    cluster.patch(&uri, &image).await;
    let is_new = |pod: &serde_json::Value| pod["spec"]["containers"][0]["image"] == "hello:v2";
    for done in 0..2 {
        let new = cluster.count(PODS, done + 1, is_new).await;
        for pod in new {
            cluster.pod_is(&pod, "Running", true, "10.0.0.2").await;
        }
    }
    cluster
        .becomes(&uri, |one| {
            let status = &one["status"];
            status["updatedReplicas"] == 2 && status["replicas"] == 2
        })
        .await;
    cluster.count(PODS, 2, is_new).await;
    assert_eq!(cluster.list(SETS).await.len(), 2);
    cluster.quiet().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_set_adopts_what_it_selects_and_releases_what_it_does_not() {
    let cluster = Cluster::new().await;
    let mut orphan = template("web");
    orphan["apiVersion"] = json!("v1");
    orphan["kind"] = json!("Pod");
    orphan["metadata"]["name"] = json!("orphan");
    cluster.create(PODS, &orphan).await;
    let mut set = deployment("web", 2);
    set["kind"] = json!("ReplicaSet");
    let set = cluster.create(SETS, &set).await;
    let uri = format!("{PODS}/orphan");
    let adopted = cluster.becomes(&uri, is_owned).await;
    assert_eq!(
        adopted["metadata"]["ownerReferences"][0]["uid"],
        set["metadata"]["uid"]
    );
    cluster.count(PODS, 2, is_owned).await;
    cluster
        .patch(&uri, &json!({"metadata": {"labels": {"app": "other"}}}))
        .await;
    cluster.becomes(&uri, |pod| !is_owned(pod)).await;
    cluster.count(PODS, 2, is_owned).await;
    cluster.quiet().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_job_whose_pods_succeed_completes() {
    let cluster = Cluster::new().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let mut pod = template("sum");
    pod["spec"]["restartPolicy"] = json!("Never");
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"},
        "spec": {"completions": 3, "parallelism": 2, "template": pod},
    });
    cluster.create(jobs, &job).await;
    let runs = |pod: &serde_json::Value| pod["status"]["phase"] == "Pending";
    for pod in cluster.count(PODS, 2, runs).await {
        cluster.pod_is(&pod, "Succeeded", false, "10.0.0.1").await;
    }
    for pod in cluster.count(PODS, 1, runs).await {
        cluster.pod_is(&pod, "Succeeded", false, "10.0.0.1").await;
    }
    let done = cluster
        .becomes(&format!("{jobs}/sum"), |job| {
            let conditions = job["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Complete"))
        })
        .await;
    assert_eq!(done["status"]["succeeded"], 3, "{done:#}");
    // Counted pods are let go.
    cluster
        .count(PODS, 3, |pod| pod["metadata"]["finalizers"].is_null())
        .await;
    cluster.quiet().await;
    cluster.stop().await;
}
