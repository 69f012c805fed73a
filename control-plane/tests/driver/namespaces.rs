//! Namespaces: what every one has, and how they end.

use serde_json::{Value, json};

use crate::cluster::{Cluster, config_map, deployment, template};

const NAMESPACES: &str = "/api/v1/namespaces";

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

#[tokio::test]
async fn namespaces_have_an_account() {
    let cluster = Cluster::new().await;
    cluster.create(NAMESPACES, &namespace("shop")).await;
    for name in ["default", "kube-system", "shop"] {
        let uri = format!("{NAMESPACES}/{name}/serviceaccounts/default");
        cluster.becomes(&uri, |_| true).await;
    }
    let uri = format!("{NAMESPACES}/shop/serviceaccounts/default");
    let first = cluster.get(&uri).await.unwrap();
    cluster.delete(&uri, json!({})).await;
    cluster
        .becomes(&uri, |one| {
            one["metadata"]["uid"] != first["metadata"]["uid"]
        })
        .await;
    cluster.quiet().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_is_emptied_and_goes() {
    let cluster = Cluster::new().await;
    cluster.create(NAMESPACES, &namespace("shop")).await;
    let deployments = "/apis/apps/v1/namespaces/shop/deployments";
    cluster.create(deployments, &deployment("web", 5)).await;
    let maps = format!("{NAMESPACES}/shop/configmaps");
    cluster.create(&maps, &config_map("a", None)).await;
    let pods = format!("{NAMESPACES}/shop/pods");
    cluster.count(&pods, 5, |_| true).await;
    let uri = format!("{NAMESPACES}/shop");
    cluster.delete(&uri, json!({})).await;
    cluster.gone(&uri).await;
    cluster.quiet().await;
    // Nothing of it is left, not even its events.
    let left = cluster
        .store
        .list(coracle_store::List {
            prefix: "/registry/".to_owned(),
            ..coracle_store::List::default()
        })
        .await
        .unwrap();
    let left = left.records.iter().map(|record| record.key.to_string());
    let left: Vec<_> = left.filter(|key| key.contains("/shop")).collect();
    assert!(left.is_empty(), "{left:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_waits_for_what_is_held() {
    let cluster = Cluster::new().await;
    cluster.create(NAMESPACES, &namespace("shop")).await;
    let mut pod = template("a");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("a");
    pod["metadata"]["finalizers"] = json!(["example.com/held"]);
    let pods = format!("{NAMESPACES}/shop/pods");
    cluster.create(&pods, &pod).await;
    let maps = format!("{NAMESPACES}/shop/configmaps");
    cluster.create(&maps, &config_map("a", None)).await;
    let uri = format!("{NAMESPACES}/shop");
    cluster.delete(&uri, json!({})).await;
    let told = |one: &Value| {
        let conditions = one["status"]["conditions"].as_array();
        conditions.is_some_and(|all| {
            all.iter()
                .any(|one| one["type"] == "NamespaceFinalizersRemaining" && one["status"] == "True")
        })
    };
    cluster.becomes(&uri, told).await;
    // Pods first: what they use is there as long as they are.
    assert!(cluster.get(&format!("{maps}/a")).await.is_some());
    let free = json!({"metadata": {"finalizers": null}});
    cluster.patch(&format!("{pods}/a"), &free).await;
    cluster.gone(&uri).await;
    cluster.stop().await;
}
