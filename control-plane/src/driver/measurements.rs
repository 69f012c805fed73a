//! Fetches what pods use, for the autoscalers: while there are any, from `metrics.k8s.io`, and then has them look at it. Where that is not served yet, the
//! autoscalers are told why there is nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coracle_api::{names::ObjectKey, quantity::Quantity};
use coracle_controllers::{
    action::key_of,
    autoscaler::metrics::{Sample, Usage},
    kind::Kind,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{calls::Calls, world::World};

/// How often. Upstream's number; the shares of pods are averages over about this time.
const EVERY: Duration = Duration::from_secs(15);
/// Where.
const PODS: &str = "/apis/metrics.k8s.io/v1beta1/pods";

/// What fetches.
pub struct Measurements {
    /// To whom it talks.
    pub calls: Calls,
    /// Where the numbers go.
    pub world: Arc<World>,
}

#[derive(Deserialize)]
struct PodMetricsList {
    items: Vec<PodMetrics>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Meta,
    timestamp: Timestamp,
    window: String,
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Meta {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    usage: BTreeMap<String, String>,
}

impl Measurements {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.fetch_for_ever()).await;
    }

    async fn fetch_for_ever(&self) {
        self.world.synced(|synced| synced.whole).await;
        loop {
            if self.world.caches().autoscalers.is_empty() {
                self.world.autoscalers_changed.notified().await;
                continue;
            }
            self.fetch().await;
            self.wake();
            sleep(EVERY).await;
        }
    }

    async fn fetch(&self) {
        let answer = self.calls.read::<PodMetricsList>(PODS).await;
        self.world.learn(|caches| {
            match answer {
                Ok(list) => {
                    let namespaces = caches.autoscalers.keys();
                    let names = namespaces.filter_map(|key| key.namespace.clone());
                    for (namespace, samples) in sorted(names, list) {
                        caches.metrics.replace(&namespace, samples);
                    }
                }
                Err(refusal) => {
                    let error = refusal.told();
                    tracing::debug!(error, "no measurements");
                    caches.metrics.fail(format!(
                        "unable to fetch metrics from resource metrics API: {error}"
                    ));
                }
            }
            Vec::new()
        });
    }

    /// Has all autoscalers look.
    fn wake(&self) {
        let keys: Vec<ObjectKey> = {
            let caches = self.world.caches();
            let all = caches.autoscalers.iter();
            all.map(|one| key_of(&one.metadata)).collect()
        };
        let lanes = self.world.lanes().iter();
        for lane in lanes.filter(|lane| lane.watches(&Kind::AUTOSCALER)) {
            lane.add(keys.iter().cloned());
        }
    }
}

type Samples = BTreeMap<String, Vec<(ObjectKey, Sample)>>;

/// What was measured, by namespace; nothing for namespaces that have autoscalers and no measurements.
fn sorted(namespaces: impl Iterator<Item = String>, list: PodMetricsList) -> Samples {
    let mut samples: Samples = namespaces.map(|name| (name, Vec::new())).collect();
    for pod in list.items {
        let containers = pod.containers.into_iter();
        let sample = Sample {
            time: pod.timestamp,
            window: window(&pod.window),
            containers: containers
                .map(|one| (one.name, usage(&one.usage)))
                .collect(),
        };
        let key = ObjectKey::namespaced(&pod.metadata.namespace, &pod.metadata.name);
        let of_namespace = samples.entry(pod.metadata.namespace).or_default();
        of_namespace.push((key, sample));
    }
    samples
}

fn usage(amounts: &BTreeMap<String, String>) -> Usage {
    let amount = |name: &str| Quantity::parse(amounts.get(name)?).ok();
    Usage {
        cpu_millis: amount("cpu").map_or(0, |amount| amount.millis()),
        memory_bytes: amount("memory").map_or(0, |amount| amount.value()),
    }
}

/// A duration as Go writes it (`15s`, `1m0.5s`); what cannot be read is the usual window.
fn window(text: &str) -> SignedDuration {
    text.parse().unwrap_or(SignedDuration::from_secs(15))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn measurements_are_sorted_by_namespace() {
        let list = json!({"items": [
            {"metadata": {"name": "a", "namespace": "d"}, "timestamp": "2020-01-01T00:00:00Z", "window": "1m30s",
                "containers": [{"name": "main", "usage": {"cpu": "1500u", "memory": "12Ki"}}]},
        ]});
        let list: PodMetricsList = serde_json::from_value(list).unwrap();
        let samples = sorted(["d".to_owned(), "e".to_owned()].into_iter(), list);
        assert!(samples["e"].is_empty());
        let (key, sample) = &samples["d"][0];
        assert_eq!(key, &ObjectKey::namespaced("d", "a"));
        assert_eq!(sample.window, SignedDuration::from_secs(90));
        let usage = Usage {
            cpu_millis: 2,
            memory_bytes: 12288,
        };
        assert_eq!(sample.containers["main"], usage);
        assert_eq!(window("15.037s"), SignedDuration::from_millis(15_037));
        assert_eq!(window("?"), SignedDuration::from_secs(15));
    }
}
