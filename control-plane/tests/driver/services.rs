//! Services and their EndpointSlices.

use serde_json::{Value, json};

use crate::cluster::{Cluster, DEPLOYMENTS, PODS, any, deployment, is_owned};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=web";

fn ready(slices: &[Value]) -> Vec<String> {
    let endpoints = slices
        .iter()
        .filter_map(|slice| slice["endpoints"].as_array())
        .flatten();
    let ready = endpoints.filter(|one| one["conditions"]["ready"] == true);
    let mut ready: Vec<_> = ready
        .map(|one| one["addresses"][0].as_str().unwrap().to_owned())
        .collect();
    ready.sort();
    ready
}

#[tokio::test]
async fn a_service_shows_its_ready_pods() {
    let cluster = Cluster::new().await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    cluster.create(SERVICES, &service).await;
    cluster.create(DEPLOYMENTS, &deployment("web", 2)).await;
    let pods = cluster.count(PODS, 2, is_owned).await;
    let shown = async |expected: &[&str]| {
        cluster
            .until("endpoints", async || {
                let slices = cluster.list(SLICES).await;
                if ready(&slices) == expected {
                    Ok(slices)
                } else {
                    Err(json!(slices))
                }
            })
            .await
    };
    shown(&[]).await;
    cluster.pod_is(&pods[0], "Running", true, "10.1.0.1").await;
    let slices = shown(&["10.1.0.1"]).await;
    assert_eq!(slices[0]["ports"][0]["port"], 8080);
    cluster.pod_is(&pods[1], "Running", true, "10.1.0.2").await;
    shown(&["10.1.0.1", "10.1.0.2"]).await;
    cluster.pod_is(&pods[0], "Running", false, "10.1.0.1").await;
    shown(&["10.1.0.2"]).await;
    cluster.quiet().await;
    cluster.delete(&format!("{SERVICES}/web"), json!({})).await;
    cluster.count(SLICES, 0, any).await;
    cluster.quiet().await;
    cluster.stop().await;
}
