//! Runs controllers: shows them the cluster, carries out what they plan. They decide, this does; it knows no controller and no rule of theirs.
//!
//! In reading order: [`reflector`]s keep the caches of the [`world`] (kinds are found by [`served`], read by [`shelf`]); every change puts keys into the
//! [`queue`] of each controller's [`lane`]; the [`reconciler`] takes them out, has them planned, has the [`executor`] do what was planned ([`batches`],
//! [`lookups`], [`recorder`]) and holds them back until the caches show it ([`expectations`]). All of it is a client of the API server ([`calls`],
//! [`refusal`]).

pub mod backoff;
pub mod batches;
pub mod calls;
pub mod correlator;
pub mod executor;
pub mod expectations;
pub mod lane;
pub mod lookups;
pub mod measurements;
pub mod metrics;
pub mod queue;
pub mod reconciler;
pub mod recorder;
pub mod reflector;
pub mod refusal;
pub mod served;
pub mod shelf;
pub mod world;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coracle_apiserver::ambient::Ambient;
use coracle_controllers::{controller::Controller, kind::Kind};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use calls::Calls;
use executor::Executor;
use lane::Lane;
use lookups::Lookups;
use measurements::Measurements;
use metrics::DriverMetrics;
use reconciler::{Reconciler, Records};
use recorder::Recorder;
use reflector::Reflector;
use served::Served;
use shelf::{Shelf, WHOLE};
use world::World;

/// The user that controllers are: upstream's name. Give its client the group `system:masters`.
pub const USER: &str = "system:kube-controller-manager";

/// How often it is asked which kinds there are. Upstream's garbage collector does so every 30 s; what is created of a new kind before that is not missed,
/// only seen later.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);

/// Running controllers.
pub struct Driver {
    world: Arc<World>,
    metrics: DriverMetrics,
    running: JoinHandle<()>,
}

/// What the parts of a driver share.
#[derive(Clone)]
struct Parts {
    calls: Calls,
    world: Arc<World>,
    ambient: Arc<dyn Ambient>,
    metrics: DriverMetrics,
    recorder: Recorder,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Driver {
    /// Starts controllers, as clients of `client`, until `shutdown`. Must be called within a tokio runtime.
    ///
    /// # Guarantees
    /// A controller plans nothing before all it watches has been listed, never plans for one key twice at a time, and never plans for a key before the caches
    /// show what its last plan for that key has done.
    #[must_use]
    pub fn start(
        client: kube::Client,
        controllers: Vec<Box<dyn Controller>>,
        ambient: Arc<dyn Ambient>,
        shutdown: CancellationToken,
    ) -> Self {
        let lanes = controllers.into_iter().map(Lane::new).map(Arc::new);
        let world = Arc::new(World::new(lanes.collect()));
        let metrics = DriverMetrics::default();
        let calls = Calls::new(client);
        let (recorder, writing) =
            recorder::recorder(calls.clone(), Arc::clone(&ambient), metrics.clone());
        let parts = Parts {
            calls,
            world: Arc::clone(&world),
            ambient,
            metrics: metrics.clone(),
            recorder,
            tasks: TaskTracker::new(),
            stop: shutdown.clone(),
        };
        let tasks = parts.tasks.clone();
        for kind in WHOLE {
            parts.reflect(Arc::new(kind.clone()), shutdown.clone());
        }
        for lane in world.lanes() {
            parts.reconcile(lane);
        }
        let measurements = Measurements {
            calls: parts.calls.clone(),
            world: Arc::clone(&world),
        };
        tasks.spawn(measurements.run(shutdown.clone()));
        tasks.spawn(writing.run(shutdown.clone()));
        tasks.spawn(async move { parts.discover_for_ever().await });
        let running = tokio::spawn(async move {
            shutdown.cancelled().await;
            tasks.close();
            tasks.wait().await;
        });
        Self {
            world,
            metrics,
            running,
        }
    }

    /// Waits until everything has been listed and all controllers are at work.
    pub async fn synced(&self) {
        self.world.synced(|synced| synced.all).await;
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &DriverMetrics {
        &self.metrics
    }

    /// What is seen of the cluster.
    #[must_use]
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Waits for the end after `shutdown`: when this returns, nothing is written any more.
    pub async fn stopped(self) {
        if let Err(error) = self.running.await {
            tracing::error!(%error, "the driver of the controllers panicked");
        }
    }
}

impl Parts {
    fn reflect(&self, kind: Arc<Kind>, stop: CancellationToken) {
        let reflector = Reflector {
            calls: self.calls.clone(),
            world: Arc::clone(&self.world),
            shelf: Shelf::of(kind),
            ambient: Arc::clone(&self.ambient),
            metrics: self.metrics.clone(),
        };
        self.tasks.spawn(reflector.run(stop));
    }

    fn reconcile(&self, lane: &Arc<Lane>) {
        let reconciler = Reconciler {
            lane: Arc::clone(lane),
            world: Arc::clone(&self.world),
            executor: Executor {
                calls: self.calls.clone(),
                world: Arc::clone(&self.world),
                recorder: self.recorder.clone(),
                controller: lane.controller.name(),
            },
            lookups: Lookups {
                calls: self.calls.clone(),
                world: Arc::clone(&self.world),
                ambient: Arc::clone(&self.ambient),
            },
            ambient: Arc::clone(&self.ambient),
            metrics: self.metrics.clone(),
            records: Records::default(),
        };
        let running = reconciler.run(self.stop.clone(), self.tasks.clone());
        self.tasks.spawn(running);
    }

    /// Keeps a reflector for each kind that is served.
    async fn discover_for_ever(self) {
        let mut followed: BTreeMap<Arc<Kind>, CancellationToken> = BTreeMap::new();
        let mut failures = 0_u32;
        let stop = self.stop.clone();
        let run = async {
            loop {
                let served = Served::discover(self.calls.client()).await;
                let wait = match served {
                    Ok(served) => {
                        failures = 0;
                        // First, so that nothing is listed before it is missed.
                        self.world.discovered(served);
                        self.adjust(&self.world.served(), &mut followed);
                        DISCOVER_EVERY
                    }
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        tracing::warn!(%error, "cannot find out which kinds are served");
                        let draw = self.ambient.draw();
                        backoff::OF_CONNECTIONS.jittered(failures, draw)
                    }
                };
                sleep(wait).await;
            }
        };
        // Never ends by itself.
        let _: Option<()> = stop.run_until_cancelled(run).await;
    }

    /// Follows kinds that have come and forgets those that have gone.
    fn adjust(&self, served: &Served, followed: &mut BTreeMap<Arc<Kind>, CancellationToken>) {
        let meant: Vec<&Arc<Kind>> = served.watched().collect();
        followed.retain(|kind, stop| {
            let stays = meant.contains(&kind);
            if !stays {
                stop.cancel();
                self.world.forget(&Shelf::of(Arc::clone(kind)));
            }
            stays
        });
        for kind in meant {
            if !followed.contains_key(kind) {
                let stop = self.stop.child_token();
                followed.insert(Arc::clone(kind), stop.clone());
                self.reflect(Arc::clone(kind), stop);
            }
        }
    }
}
