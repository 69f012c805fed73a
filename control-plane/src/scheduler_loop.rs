//! Runs the scheduler: hears of nodes and pods, has `coracle_scheduler` decide one pod after the other, and binds what was decided. A pod that was given a
//! node counts as being there from that moment; it is not waited for the API server before the next one is decided.

mod follow;
mod hearing;
mod writes;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coracle_apiserver::ambient::Ambient;
use coracle_scheduler::{
    Budget, Event, Preemption, Queue, Request, Snapshot, Unschedulable, assign, preempt,
};
use futures::{FutureExt as _, StreamExt, stream::BoxStream};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, ResourceExt, runtime::watcher};
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
use follow::follow;
use writes::{Bound, Writes};

/// The user that the scheduler is: upstream's name. Give its client the group `system:masters`.
pub const USER: &str = "system:kube-scheduler";
/// The scheduler that pods name, or have by default.
const NAME: &str = "default-scheduler";
/// When a pod that could not be bound is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// Pods that no event could help are tried again so often all the same. Upstream's flush takes five minutes; one that missed something is seen sooner.
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
            queue: Queue::default(),
            budgets: BTreeMap::new(),
            news: Vec::new(),
            writes: Writes::new(client.clone()),
            binding: JoinSet::new(),
            recorder,
            ambient,
            synced: Synced::default(),
        };
        let running = tokio::spawn(async move {
            let telling = tokio::spawn(writing.run(shutdown.clone()));
            let work = scheduler.run(client, shutdown.clone());
            shutdown.run_until_cancelled(work).await;
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
    queue: Queue<Instant>,
    /// How many pods may be ended, by the budget's namespace and name.
    budgets: BTreeMap<(String, String), Budget>,
    /// What has changed since waiting pods were last told.
    news: Vec<Event>,
    writes: Writes,
    binding: JoinSet<Bound>,
    recorder: Recorder,
    ambient: Arc<dyn Ambient>,
    synced: Synced,
}

/// What was seen whole once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Synced {
    nodes: bool,
    pods: bool,
    namespaces: bool,
}

impl Synced {
    const ALL: Self = Self {
        nodes: true,
        pods: true,
        namespaces: true,
    };
}

impl Scheduler {
    async fn run(mut self, client: kube::Client, shutdown: CancellationToken) {
        let mut nodes = std::pin::pin!(follow(Api::<Node>::all(client.clone())));
        let mut pods = std::pin::pin!(follow(Api::<Pod>::all(client.clone())));
        let mut namespaces = std::pin::pin!(follow(Api::<Namespace>::all(client.clone())));
        let mut budgets = budgets(client);
        let mut flush = Instant::now() + FLUSH;
        // Not in order: a stream that never pauses must not keep pods from being decided.
        loop {
            let is_idle = self.synced != Synced::ALL || self.queue.is_idle();
            let again = self.queue.wake_at().unwrap_or(flush).min(flush);
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(event) = nodes.next() => self.node(event),
                Some(event) = pods.next() => self.pod(event),
                Some(event) = namespaces.next() => self.namespace(event),
                Some(event) = budgets.next() => self.budget(event),
                Some(bound) = self.binding.join_next() => match bound {
                    Ok(bound) => self.bound(bound),
                    Err(error) => tracing::error!(%error, "a task that binds pods failed"),
                },
                () = std::future::ready(()), if !self.news.is_empty() => {
                    let news = std::mem::take(&mut self.news);
                    self.queue.tell(&news, &self.snapshot, Instant::now());
                }
                () = sleep_until(again) => {
                    if Instant::now() >= flush {
                        flush = Instant::now() + FLUSH;
                        self.queue.flush();
                    }
                    self.queue.wake(Instant::now());
                }
                () = std::future::ready(()), if !is_idle => {
                    for _ in 0..BATCH {
                        let Some(pod) = self.queue.take() else { break };
                        self.schedule(pod);
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Decides one pod.
    fn schedule(&mut self, pod: Arc<Pod>) {
        let chance = usize::try_from(self.ambient.draw() & u128::from(u32::MAX)).unwrap_or(0);
        let request = Arc::new(self.snapshot.prepare(Arc::clone(&pod)));
        match assign(&request, &self.snapshot, chance) {
            Ok(node) => {
                self.snapshot.place(&node, Arc::clone(&request));
                self.news.push(Event::Placed(request));
                self.binding.spawn(self.writes.bind(pod, node));
            }
            Err(refused) => self.refused(pod, request, &refused, chance),
        }
    }

    /// No node can take a pod: others end for it, or it waits.
    fn refused(
        &mut self,
        pod: Arc<Pod>,
        request: Arc<Request>,
        refused: &Unschedulable,
        chance: usize,
    ) {
        let mut message = refused.to_string();
        let mut promised = None;
        if refused.nodes > 0 {
            let budgets: Vec<Budget> = self.budgets.values().cloned().collect();
            match preempt(&request, refused, &mut self.snapshot, &budgets, chance) {
                Ok(preemption) => promised = Some(preemption),
                Err(why) => {
                    message.push_str(" preemption: ");
                    message.push_str(&why);
                }
            }
        }
        let plugins = refused.plugins;
        let is_news = self
            .queue
            .refuse(Arc::clone(&request), plugins, &message, Instant::now());
        if is_news {
            self.recorder.tell(NAME, writes::refused(&pod, &message));
        }
        let node = promised.as_ref().map(|preemption| preemption.node.clone());
        if is_news || node.is_some() {
            self.binding
                .spawn(self.writes.refuse(Arc::clone(&pod), message, node));
        }
        if let Some(preemption) = promised {
            self.preempted(&pod, request, preemption);
        }
    }

    /// Others have to end for a pod.
    fn preempted(&mut self, pod: &Pod, request: Arc<Request>, preemption: Preemption) {
        let Preemption { node, victims } = preemption;
        for victim in victims {
            self.recorder
                .tell(NAME, writes::preempted(&victim.pod, pod, &node));
            self.binding.spawn(self.writes.end(Arc::clone(&victim.pod)));
        }
        self.snapshot.promise(&node, request);
    }

    fn bound(&mut self, bound: Bound) {
        match bound {
            Bound::Done { pod, node } => {
                self.recorder.tell(NAME, writes::assigned(&pod, &node));
                self.queue.remove(&pod.uid().unwrap_or_default());
            }
            Bound::Obsolete(pod) => {
                // The watch tells what it is now.
                self.leave(&pod.uid().unwrap_or_default());
            }
            Bound::Failed { pod, error } => {
                tracing::warn!(pod = pod.name_any(), %error, "a pod cannot be bound, will try again");
                let uid = pod.uid().unwrap_or_default();
                self.leave(&uid);
                self.queue.later(&uid, Instant::now() + BIND_AGAIN);
            }
            Bound::Told => {}
        }
    }
}

/// The watch of budgets; none where the API server does not serve them.
fn budgets(client: kube::Client) -> BoxStream<'static, watcher::Event<PodDisruptionBudget>> {
    let watch = async move {
        let served = match client.list_api_group_resources("policy/v1").await {
            Ok(list) => list
                .resources
                .iter()
                .any(|one| one.name == "poddisruptionbudgets"),
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            // The watch tries again.
            Err(_) => true,
        };
        if served {
            follow(Api::<PodDisruptionBudget>::all(client)).boxed()
        } else {
            futures::stream::pending().boxed()
        }
    };
    watch.flatten_stream().boxed()
}
