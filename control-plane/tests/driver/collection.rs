//! Garbage collection, in its three ways and for kinds no controller knows.

use serde_json::json;

use crate::cluster::{
    Cluster, DEPLOYMENTS, MAPS, PODS, SETS, any, config_map, deployment, is_owned,
};

async fn deployed() -> Cluster {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    cluster.count(PODS, 3, is_owned).await;
    cluster
}

#[tokio::test]
async fn what_a_deployment_made_goes_after_it() {
    let cluster = deployed().await;
    let options = json!({"propagationPolicy": "Background"});
    cluster.delete(&format!("{DEPLOYMENTS}/web"), options).await;
    cluster.count(PODS, 0, any).await;
    cluster.count(SETS, 0, any).await;
    cluster.quiet().await;
    cluster.stop().await;
}

#[tokio::test]
async fn what_a_deployment_made_goes_before_it() {
    let cluster = deployed().await;
    // A pod that takes its time.
    let pod = cluster.names(PODS).await.remove(0);
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    cluster.patch(&format!("{PODS}/{pod}"), &held).await;
    let options = json!({"propagationPolicy": "Foreground"});
    cluster.delete(&format!("{DEPLOYMENTS}/web"), options).await;
    let left = cluster.count(PODS, 1, any).await;
    assert!(left[0]["metadata"]["deletionTimestamp"].is_string());
    cluster.quiet().await;
    let uri = format!("{DEPLOYMENTS}/web");
    let waiting = cluster.get(&uri).await.unwrap();
    assert_eq!(
        waiting["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    assert_eq!(cluster.list(SETS).await.len(), 1);
    let free = json!({"metadata": {"finalizers": null}});
    cluster.patch(&format!("{PODS}/{pod}"), &free).await;
    cluster.gone(&uri).await;
    cluster.count(SETS, 0, any).await;
    cluster.count(PODS, 0, any).await;
    cluster.quiet().await;
    cluster.stop().await;
}

#[tokio::test]
async fn what_a_deployment_made_may_stay() {
    let cluster = deployed().await;
    let options = json!({"propagationPolicy": "Orphan"});
    cluster.delete(&format!("{DEPLOYMENTS}/web"), options).await;
    cluster.gone(&format!("{DEPLOYMENTS}/web")).await;
    cluster.count(SETS, 1, |set| !is_owned(set)).await;
    cluster.quiet().await;
    cluster.count(PODS, 3, is_owned).await;
    // A new one of the same kind takes it over.
    cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    cluster.count(SETS, 1, is_owned).await;
    cluster.quiet().await;
    assert_eq!(cluster.list(PODS).await.len(), 3);
    cluster.stop().await;
}

#[tokio::test]
async fn kinds_that_no_controller_knows_are_collected_too() {
    let cluster = Cluster::new().await;
    let a = cluster.create(MAPS, &config_map("a", None)).await;
    let b = cluster.create(MAPS, &config_map("b", Some(&a))).await;
    cluster.create(MAPS, &config_map("c", Some(&b))).await;
    // An owner that never was: the API server itself has to be asked.
    let mut never = a.clone();
    never["metadata"]["name"] = json!("never");
    never["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    cluster.create(MAPS, &config_map("d", Some(&never))).await;
    cluster.gone(&format!("{MAPS}/d")).await;
    // The name is there, but it is another object.
    never["metadata"]["name"] = json!("a");
    cluster.create(MAPS, &config_map("e", Some(&never))).await;
    cluster.gone(&format!("{MAPS}/e")).await;
    cluster.quiet().await;
    assert!(cluster.get(&format!("{MAPS}/c")).await.is_some());
    cluster.delete(&format!("{MAPS}/a"), json!({})).await;
    cluster.gone(&format!("{MAPS}/c")).await;
    cluster.gone(&format!("{MAPS}/b")).await;
    cluster.quiet().await;
    cluster.stop().await;
}
