//! Pods made at a rate and watched, as a client over HTTPS sees them.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::time::{sleep, sleep_until, timeout};

/// How long all pods of a round may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// What selects a bench's pods.
const LABEL: &str = "bench=start";

/// Pods of the default namespace.
pub(crate) struct Pods {
    api: Api<Pod>,
    image: String,
}

impl Pods {
    /// Pods of `image`, made by the user of a kubeconfig.
    pub(crate) async fn new(kubeconfig: &Path, image: &str) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let client = Client::try_from(config.unwrap()).unwrap();
        Self {
            api: Api::default_namespaced(client),
            image: image.to_owned(),
        }
    }

    /// Creates `count` pods, `rate` a second, and says for each how long it was from before the request until the watch said Running.
    ///
    /// # Panics
    /// When one is refused, or does not run within two minutes.
    pub(crate) async fn create(&self, count: usize, rate: u32) -> Vec<Duration> {
        let one = ListParams::default().labels(LABEL).limit(1);
        let listed = self.api.list(&one).await.unwrap();
        let version = listed.metadata.resource_version.unwrap();
        let watch = WatchParams::default().labels(LABEL);
        let mut events = self.api.watch(&watch, &version).await.unwrap().boxed();
        let creating = async {
            let began = tokio::time::Instant::now();
            let mut requests = Vec::new();
            for number in 0..count {
                let pod = self.pod(number);
                let turn = Duration::from_secs(1) / rate * u32::try_from(number).unwrap();
                sleep_until(began + turn).await;
                let api = self.api.clone();
                let asked = Instant::now();
                let request = tokio::spawn(async move {
                    api.create(&PostParams::default(), &pod).await.map(drop)
                });
                requests.push((asked, request));
            }
            let mut asked_at = Vec::new();
            for (asked, request) in requests {
                request.await.unwrap().expect("a pod is created");
                asked_at.push(asked);
            }
            asked_at
        };
        let watching = async {
            let mut running = HashMap::new();
            while running.len() < count {
                let event = events.next().await.expect("the watch goes on").unwrap();
                let pod = match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => pod,
                    WatchEvent::Error(error) => panic!("the watch failed: {error:?}"),
                    WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => continue,
                };
                let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
                if phase.as_deref() == Some("Running") {
                    running.entry(pod.name_any()).or_insert_with(Instant::now);
                }
            }
            running
        };
        let both = timeout(PATIENCE, futures::future::join(creating, watching));
        let (asked_at, running) = both.await.expect("all pods run within two minutes");
        let times = asked_at.into_iter().enumerate();
        times
            .map(|(number, asked)| running[&name(number)].saturating_duration_since(asked))
            .collect()
    }

    /// Deletes them all and waits until they are gone.
    pub(crate) async fn delete(&self) {
        let chosen = ListParams::default().labels(LABEL);
        let now = DeleteParams::default().grace_period(0);
        self.api.delete_collection(&now, &chosen).await.unwrap();
        let gone = async {
            while !self.api.list(&chosen).await.unwrap().items.is_empty() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, gone).await.expect("pods go when deleted");
    }

    fn pod(&self, number: usize) -> Pod {
        let pod = serde_json::json!({
            "metadata": { "name": name(number), "labels": { "bench": "start" } },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main",
                    "image": self.image,
                    "resources": {
                        "requests": { "cpu": "1m", "memory": "1Mi" },
                        "limits": { "cpu": "100m", "memory": "32Mi" },
                    },
                }],
            },
        });
        serde_json::from_value(pod).unwrap()
    }
}

fn name(number: usize) -> String {
    format!("bench-{number}")
}
