//! Runs the scheduler: watches nodes and pods, has `coracle_scheduler` decide one pod after the other, and binds what was decided. A pod that was given a
//! node counts as being there from that moment; it is not waited for the API server before the next one is decided.

mod pending;
mod writes;

use std::{sync::Arc, time::Duration};

use coracle_apiserver::ambient::Ambient;
use coracle_scheduler::Snapshot;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::driver::{
    calls::Calls,
    metrics::DriverMetrics,
    recorder::{self, Recorder},
};
use pending::Pending;
use writes::{Bound, Writes};

/// The user that the scheduler is: upstream's name. Give its client the group `system:masters`.
pub const USER: &str = "system:kube-scheduler";
/// The scheduler that pods name, or have by default.
const NAME: &str = "default-scheduler";
/// The first pause after a watch failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// When a pod that could not be bound is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// Pods that nothing has changed for are tried again so often all the same. Upstream's flush takes five minutes.
const FLUSH: Duration = Duration::from_secs(60);
/// Pods that are decided before news are looked at.
const BATCH: usize = 64;

/// A running scheduler.
#[derive(Debug)]
pub struct SchedulerLoop {
    running: JoinHandle<()>,
}

impl SchedulerLoop {
    /// Starts scheduling as a client of `client`, until `shutdown`. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(
        client: kube::Client,
        ambient: Arc<dyn Ambient>,
        shutdown: CancellationToken,
    ) -> Self {
        let calls = Calls::new(client.clone());
        let metrics = DriverMetrics::default();
        let (recorder, writing) = recorder::recorder(calls, Arc::clone(&ambient), metrics);
        let scheduler = Scheduler {
            snapshot: Snapshot::default(),
            pending: Pending::default(),
            writes: Writes::new(client.clone()),
            binding: JoinSet::new(),
            recorder,
            ambient,
            synced: (false, false),
        };
        let running = tokio::spawn(async move {
            let telling = tokio::spawn(writing.run(shutdown.clone()));
            scheduler.run(client, shutdown).await;
            if let Err(error) = telling.await {
                tracing::error!(%error, "telling what was scheduled failed");
            }
        });
        Self { running }
    }

    /// Waits for the end after `shutdown`: when this returns, nothing is written any more.
    pub async fn stopped(self) {
        if let Err(error) = self.running.await {
            tracing::error!(%error, "the scheduler panicked");
        }
    }
}

struct Scheduler {
    snapshot: Snapshot,
    pending: Pending,
    writes: Writes,
    binding: JoinSet<Bound>,
    recorder: Recorder,
    ambient: Arc<dyn Ambient>,
    /// Whether all nodes, and all pods, were seen once.
    synced: (bool, bool),
}

impl Scheduler {
    async fn run(mut self, client: kube::Client, shutdown: CancellationToken) {
        let mut nodes = std::pin::pin!(follow(Api::<Node>::all(client.clone())));
        let mut pods = std::pin::pin!(follow(Api::<Pod>::all(client)));
        let mut flush = Instant::now() + FLUSH;
        loop {
            let is_synced = self.synced == (true, true);
            let is_idle = !is_synced || self.pending.is_idle();
            let again = self.pending.wake_at().unwrap_or(flush).min(flush);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(event) = nodes.next() => self.node(event),
                Some(event) = pods.next() => self.pod(event),
                Some(bound) = self.binding.join_next() => match bound {
                    Ok(bound) => self.bound(bound),
                    Err(error) => tracing::error!(%error, "a task that binds pods failed"),
                },
                () = sleep_until(again) => {
                    if Instant::now() >= flush {
                        flush = Instant::now() + FLUSH;
                        self.pending.retry_all();
                    }
                    self.pending.wake(Instant::now());
                }
                () = std::future::ready(()), if !is_idle => {
                    for _ in 0..BATCH {
                        let Some(pod) = self.pending.next() else { break };
                        self.schedule(pod);
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn node(&mut self, event: Event<Node>) {
        match event {
            Event::Init => {}
            Event::Apply(node) | Event::InitApply(node) => {
                self.snapshot.put_node(Arc::new(node));
                self.pending.retry_all();
            }
            Event::Delete(node) => self.snapshot.remove_node(&node.name_any()),
            Event::InitDone => self.synced.0 = true,
        }
    }

    fn pod(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => {}
            Event::Apply(pod) | Event::InitApply(pod) => self.put_pod(pod),
            Event::Delete(pod) => self.gone(&pod.uid().unwrap_or_default()),
            Event::InitDone => self.synced.1 = true,
        }
    }

    fn put_pod(&mut self, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        if coracle_api::pods::is_terminal(&pod) {
            self.gone(&uid);
        } else if let Some(node) = coracle_api::pods::node_name(&pod).map(str::to_owned) {
            self.pending.remove(&uid);
            self.snapshot.put_pod(&node, Arc::new(pod));
        } else if !is_ours(&pod) {
            self.pending.remove(&uid);
        } else {
            self.pending.put(Arc::new(pod));
        }
    }

    fn gone(&mut self, uid: &str) {
        self.pending.remove(uid);
        if self.snapshot.remove_pod(uid) {
            self.pending.retry_all();
        }
    }

    /// Decides one pod.
    fn schedule(&mut self, pod: Arc<Pod>) {
        let chance = usize::try_from(self.ambient.draw() & u128::from(u32::MAX)).unwrap_or(0);
        match coracle_scheduler::assign(&pod, &self.snapshot, chance) {
            Ok(node) => {
                self.snapshot.put_pod(&node, Arc::clone(&pod));
                self.binding.spawn(self.writes.bind(pod, node));
            }
            Err(refused) => {
                let message = refused.to_string();
                if self.pending.refused(&pod, &message) {
                    self.recorder.tell(NAME, writes::refused(&pod, &message));
                    self.binding.spawn(self.writes.refuse(pod, message));
                }
            }
        }
    }

    fn bound(&mut self, bound: Bound) {
        match bound {
            Bound::Done { pod, node } => {
                self.recorder.tell(NAME, writes::assigned(&pod, &node));
                self.pending.remove(&pod.uid().unwrap_or_default());
            }
            Bound::Obsolete(pod) => {
                // The watch tells what it is now.
                self.snapshot.remove_pod(&pod.uid().unwrap_or_default());
            }
            Bound::Failed { pod, error } => {
                tracing::warn!(pod = pod.name_any(), %error, "a pod cannot be bound, will try again");
                self.snapshot.remove_pod(&pod.uid().unwrap_or_default());
                self.pending.later(pod, Instant::now() + BIND_AGAIN);
            }
            Bound::Told => {}
        }
    }
}

/// Whether this scheduler is to decide a pod now.
fn is_ours(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let named = spec.and_then(|spec| spec.scheduler_name.as_deref());
    let is_gated = spec
        .and_then(|spec| spec.scheduling_gates.as_ref())
        .is_some_and(|gates| !gates.is_empty());
    named.is_none_or(|named| named == NAME)
        && !is_gated
        && pod.metadata.deletion_timestamp.is_none()
}

/// A watch that goes on over failures, and says what vanished meanwhile.
fn follow<K>(api: Api<K>) -> impl Stream<Item = Event<K>>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let known: std::collections::HashMap<String, K> = std::collections::HashMap::new();
    let events = Box::pin(watcher(api, watcher::Config::default()));
    let state = (
        events,
        known,
        std::collections::HashSet::new(),
        Vec::new(),
        PAUSE.0,
    );
    futures::stream::unfold(
        state,
        |(mut events, mut known, mut listed, mut gone, mut pause)| async move {
            loop {
                if let Some(object) = gone.pop() {
                    return Some((Event::Delete(object), (events, known, listed, gone, pause)));
                }
                let event = match events.next().await? {
                    Ok(event) => event,
                    Err(error) => {
                        tracing::warn!(%error, "the scheduler's watch failed, will try again");
                        tokio::time::sleep(pause).await;
                        pause = pause.saturating_mul(2).min(PAUSE.1);
                        continue;
                    }
                };
                pause = PAUSE.0;
                let uid = |object: &K| object.meta().uid.clone().unwrap_or_default();
                match &event {
                    Event::Init => listed.clear(),
                    Event::InitApply(object) => {
                        listed.insert(uid(object));
                        known.insert(uid(object), object.clone());
                    }
                    Event::Apply(object) => drop(known.insert(uid(object), object.clone())),
                    Event::Delete(object) => drop(known.remove(&uid(object))),
                    Event::InitDone => {
                        let lost: Vec<String> = known
                            .keys()
                            .filter(|uid| !listed.contains(*uid))
                            .cloned()
                            .collect();
                        gone.extend(lost.iter().filter_map(|uid| known.remove(uid)));
                    }
                }
                return Some((event, (events, known, listed, gone, pause)));
            }
        },
    )
}
