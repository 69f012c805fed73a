//! What is there already when the server starts.

use std::sync::Arc;

use coracle_apiserver::ambient::Fixed;
use coracle_store::MemoryStorage;
use serde_json::json;

use crate::cluster::{Cluster, SERVICES};

#[tokio::test]
async fn a_second_start_changes_nothing() {
    let store = Arc::new(MemoryStorage::new());
    let first = Cluster::on(store.clone(), |_| {}).await;
    let revision = first.store.revision();
    let again = Cluster::on(store, |_| {}).await;
    assert_eq!(again.store.revision(), revision);
    assert_eq!(
        again.names("/api/v1/namespaces").await,
        ["default", "kube-node-lease", "kube-public", "kube-system"]
    );
}

#[tokio::test]
async fn the_endpoint_of_the_api_is_published_and_kept_up_to_date() {
    let store = Arc::new(MemoryStorage::new());
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    for address in ["192.0.2.1:6443", "192.0.2.2:7443"] {
        let at = address.parse().unwrap();
        let cluster = Cluster::on(store.clone(), |options| options.endpoint = Some(at)).await;
        let found = cluster.get(slice).await.expect(200);
        assert_eq!(
            found["endpoints"][0]["addresses"],
            json!([at.ip().to_string()])
        );
        assert_eq!(found["ports"][0]["port"], at.port());
        assert_eq!(
            found["metadata"]["labels"]["kubernetes.io/service-name"],
            "kubernetes"
        );
        let service = cluster
            .get(&format!("{SERVICES}/kubernetes"))
            .await
            .expect(200);
        assert_eq!(service["spec"]["ports"][0]["port"], 443);
    }
}

#[tokio::test]
async fn events_go_when_they_are_old_news() {
    let cluster = Cluster::new().await;
    let uri = "/api/v1/namespaces/default/events";
    let now = jiff::Timestamp::now();
    for n in 0..250 {
        let event = json!({
            "metadata": {"name": format!("e{n:03}")}, "reason": "Test", "type": "Normal",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        });
        cluster.post(uri, &event).await.expect(201);
    }
    assert_eq!(
        cluster.server.expire_events().await.unwrap(),
        0,
        "created just now"
    );
    let old = Cluster::on(cluster.store.clone(), |options| {
        let later = now + jiff::SignedDuration::from_mins(59);
        options.ambient = Arc::new(Fixed::new(later));
    })
    .await;
    assert_eq!(
        old.server.expire_events().await.unwrap(),
        0,
        "not yet an hour after their creation"
    );
    let old = Cluster::on(cluster.store.clone(), |options| {
        let later = now + jiff::SignedDuration::from_mins(62);
        options.ambient = Arc::new(Fixed::new(later));
    })
    .await;
    assert_eq!(old.server.expire_events().await.unwrap(), 250);
    assert!(cluster.names(uri).await.is_empty());
}

#[tokio::test]
async fn a_loopback_endpoint_is_not_published() {
    let at = "127.0.0.1:6443".parse().unwrap();
    let cluster = Cluster::with(|options| options.endpoint = Some(at)).await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    assert!(cluster.names(slices).await.is_empty());
}
