//! kube's client in process: what controllers, scheduler and node use.

use coracle_apiserver::UserInfo;
use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    cluster::{Cluster, deployment, pod},
    frames::DEADLINE,
};

fn client(cluster: &Cluster) -> Client {
    cluster
        .server
        .client(UserInfo::new("admin", ["system:masters"]))
}

#[tokio::test]
async fn objects_live_through_the_typed_client() {
    let cluster = Cluster::new().await;
    let pods: Api<Pod> = Api::default_namespaced(client(&cluster));
    let object: Pod = serde_json::from_value(pod("p")).unwrap();
    let created = pods.create(&PostParams::default(), &object).await.unwrap();
    assert!(created.metadata.uid.is_some());
    let taken = pods
        .create(&PostParams::default(), &object)
        .await
        .unwrap_err();
    assert!(
        matches!(&taken, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
    );

    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    let patched = pods
        .patch("p", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    assert_eq!(patched.metadata.labels.unwrap()["a"], "b");
    let status = json!({"status": {"phase": "Running"}});
    let running = pods
        .patch_status("p", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    assert_eq!(running.status.unwrap().phase.as_deref(), Some("Running"));
    let found = pods
        .list(
            &ListParams::default()
                .labels("a=b")
                .fields("status.phase=Running"),
        )
        .await
        .unwrap();
    assert_eq!(found.items.len(), 1);
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[tokio::test]
async fn scale_and_discovery_work() {
    let cluster = Cluster::new().await;
    let client = client(&cluster);
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let object: Deployment = serde_json::from_value(deployment("web")).unwrap();
    deployments
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    let patch = json!({"spec": {"replicas": 4}});
    let scaled = deployments
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(4));
    assert_eq!(client.apiserver_version().await.unwrap().minor, "37");
    let discovery = kube::Discovery::new(client).run().await.unwrap();
    assert!(discovery.groups().any(|group| group.name() == "apps"));
}

async fn follows(config: watcher::Config) {
    let cluster = Cluster::new().await;
    let client = client(&cluster);
    cluster.config_map("a", json!({})).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let mut events = std::pin::pin!(watcher(maps.clone(), config));
    let mut next = async || {
        timeout(DEADLINE, events.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    assert!(matches!(next().await, Event::Init));
    assert!(
        matches!(next().await, Event::InitApply(map) if map.metadata.name.as_deref() == Some("a"))
    );
    assert!(matches!(next().await, Event::InitDone));
    cluster.config_map("b", json!({})).await;
    assert!(matches!(next().await, Event::Apply(map) if map.metadata.name.as_deref() == Some("b")));
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(
        matches!(next().await, Event::Delete(map) if map.metadata.name.as_deref() == Some("a"))
    );
}

#[tokio::test]
async fn watchers_list_and_follow() {
    follows(watcher::Config::default()).await;
    follows(watcher::Config::default().page_size(1)).await;
}

#[tokio::test]
async fn watchers_may_stream_the_list() {
    follows(watcher::Config::default().streaming_lists()).await;
}

#[tokio::test]
async fn a_watcher_recovers_from_lost_history() {
    let cluster = Cluster::with_history(3).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&cluster));
    let stream = watcher(maps, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(stream.filter_map(async |event| event.ok()));
    timeout(DEADLINE, async {
        while !matches!(events.next().await.unwrap(), Event::InitDone) {}
        for n in 0..20 {
            cluster.config_map(&format!("c{n:02}"), json!({})).await;
        }
        // Whether by events or by a new list: the last object arrives.
        loop {
            if let Event::Apply(map) | Event::InitApply(map) = events.next().await.unwrap()
                && map.metadata.name.as_deref() == Some("c19")
            {
                return;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn clients_are_who_they_are_said_to_be() {
    let cluster = Cluster::new().await;
    let nobody = cluster
        .server
        .client(UserInfo::new("jane", Vec::<String>::new()));
    let refused = Api::<Namespace>::all(nobody)
        .list(&ListParams::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403 && status.message.contains(r#"User "jane" cannot list"#))
    );
    let namespaces: Vec<_> = Api::<Namespace>::all(client(&cluster))
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert_eq!(namespaces.len(), 4);
}
