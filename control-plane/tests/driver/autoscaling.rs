//! Autoscalers get their numbers from the metrics API.

use axum::{Router, routing::get};
use serde_json::{Value, json};

use crate::cluster::{Cluster, DEPLOYMENTS, PODS, deployment, is_owned, name, uid};

const SCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";

fn scaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Mi"}}}],
        },
    })
}

#[tokio::test]
async fn a_deployment_grows_with_what_its_pods_use() {
    let cluster = Cluster::new().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    cluster.create("/api/v1/nodes", &node).await;
    let mut web = deployment("web", 2);
    web["spec"]["template"]["spec"]["nodeName"] = json!("n1");
    cluster.create(DEPLOYMENTS, &web).await;
    let pods = cluster.count(PODS, 2, is_owned).await;
    let of_pod = |pod: &Value| {
        json!({"namespace": "default", "name": name(pod), "uid": uid(pod),
            "containers": [{"name": "main", "usageNanoCores": 1_000_000, "workingSetBytes": 2 << 20}]})
    };
    let stats = json!({
        "time": jiff::Timestamp::now(), "window": "10s", "node": {"usageNanoCores": 1, "workingSetBytes": 1},
        "pods": pods.iter().map(of_pod).collect::<Vec<_>>(),
    });
    let stats = stats.to_string();
    let router = Router::new().route("/stats", get(async move || stats));
    cluster.attach("n1", router);
    for pod in &pods {
        cluster.pod_is(pod, "Running", true, "10.0.0.1").await;
    }
    let uri = format!("{DEPLOYMENTS}/web");
    cluster
        .becomes(&uri, |one| one["status"]["replicas"] == 2)
        .await;
    cluster.create(SCALERS, &scaler()).await;
    cluster
        .becomes(&uri, |one| one["spec"]["replicas"] == 4)
        .await;
    cluster.count(PODS, 4, is_owned).await;
    let status = cluster
        .becomes(&format!("{SCALERS}/web"), |one| {
            one["status"]["desiredReplicas"] == 4
        })
        .await;
    assert!(status["status"]["lastScaleTime"].is_string());
    cluster.stop().await;
}

#[tokio::test]
async fn an_autoscaler_says_that_there_are_no_numbers() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 2)).await;
    cluster.count(PODS, 2, is_owned).await;
    cluster.create(SCALERS, &scaler()).await;
    let told = |one: &Value| {
        let conditions = one["status"]["conditions"].as_array();
        conditions.is_some_and(|all| {
            all.iter().any(|one| {
                one["type"] == "ScalingActive"
                    && one["status"] == "False"
                    && one["reason"] == "FailedGetResourceMetric"
            })
        })
    };
    cluster.becomes(&format!("{SCALERS}/web"), told).await;
    assert_eq!(cluster.list(PODS).await.len(), 2);
    cluster.stop().await;
}
