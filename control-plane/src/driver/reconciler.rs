//! The loop of one controller: takes a key, has it planned, has the plan carried out, and says when the key is to be looked at again. Several keys at a time,
//! never one key twice.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use coracle_api::names::ObjectKey;
use coracle_apiserver::ambient::Ambient;
use coracle_controllers::{
    action::{Plan, Requeue},
    controller::{Failure, Seen},
    memory::Memory,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use super::{
    executor::{Executor, Outcome},
    expectations::Expected,
    lane::Lane,
    lookups::{Learnt, Lookups},
    metrics::{DriverMetrics, Ended},
    queue::Next,
    world::World,
};

/// How many keys of a controller are worked on at a time. Upstream has 5 to 20, depending on the controller; with half, one slow request is felt, with double
/// a restart of everything takes all of the server's places.
const KEYS_AT_A_TIME: usize = 8;
/// So many lookups in a row that taught something are followed by a plan at once; what keeps asking beyond that has to wait.
const LOOKUPS_AT_ONCE: u32 = 3;
/// Nothing is put off for longer than this: then it is planned again, and if need be put off again. The clock may have been set.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The reconciler of one controller.
#[derive(Clone)]
pub struct Reconciler {
    /// The controller and its keys.
    pub lane: Arc<Lane>,
    /// What it sees.
    pub world: Arc<World>,
    /// What it acts through.
    pub executor: Executor,
    /// What it asks through.
    pub lookups: Lookups,
    /// The time.
    pub ambient: Arc<dyn Ambient>,
    /// What is counted.
    pub metrics: DriverMetrics,
    /// What it knows of keys between plans.
    pub records: Records,
}

/// What is known of the keys of a controller from one plan to the next.
#[derive(Clone, Default)]
pub struct Records(Arc<Mutex<BTreeMap<ObjectKey, Record>>>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Record {
    memory: Memory,
    failure: Option<Failure>,
    lookups: u32,
}

impl Records {
    fn get(&self, key: &ObjectKey) -> Record {
        self.0.lock().get(key).cloned().unwrap_or_default()
    }

    /// Remembers what is worth it.
    fn set(&self, key: &ObjectKey, record: Record) {
        if record == Record::default() {
            self.0.lock().remove(key);
        } else {
            self.0.lock().insert(key.clone(), record);
        }
    }
}

/// A key that is worked on. Whatever happens to the work, the key is given back.
struct Held {
    lane: Arc<Lane>,
    world: Arc<World>,
    key: ObjectKey,
    expected: Vec<Expected>,
    next: Next,
}

impl Drop for Held {
    fn drop(&mut self) {
        let expected = std::mem::take(&mut self.expected);
        let key = self.key.clone();
        let shows = |expected: &Expected| self.world.shows(expected);
        self.lane.finish(key, expected, self.next, shows);
    }
}

impl Reconciler {
    /// Runs until `stop`, beginning when everything has been seen that the controller needs.
    pub async fn run(self, stop: CancellationToken, tasks: TaskTracker) {
        let all = self.lane.needs_all_kinds();
        let synced = self
            .world
            .synced(|synced| synced.all || (synced.whole && !all));
        if stop.run_until_cancelled(synced).await.is_none() {
            return;
        }
        let places = Arc::new(Semaphore::new(KEYS_AT_A_TIME));
        let name = self.lane.controller.name();
        loop {
            let taken = stop.run_until_cancelled(async {
                // Cannot fail: it is never closed.
                let place = Arc::clone(&places).acquire_owned().await.ok();
                (place, self.lane.next().await)
            });
            let Some((place, key)) = taken.await else {
                return;
            };
            let held = Held {
                lane: Arc::clone(&self.lane),
                world: Arc::clone(&self.world),
                expected: Vec::new(),
                // Unless something better is known.
                next: Next::Retry(None),
                key,
            };
            let span = tracing::debug_span!("reconcile", controller = name, key = %held.key);
            let reconciler = self.clone();
            let stop = stop.clone();
            let work = async move {
                let _place = place;
                // Whatever part of a plan was carried out is safe without the rest.
                stop.run_until_cancelled(reconciler.reconcile(held)).await;
            };
            tasks.spawn(work.instrument(span));
        }
    }

    async fn reconcile(&self, mut held: Held) {
        let began = Instant::now();
        let mut record = self.records.get(&held.key);
        let ended = match self.plan(&held.key, &record) {
            Err(Panicked) => Ended::Panicked,
            Ok(None) => {
                record = Record::default();
                held.next = Next::Wait(None);
                Ended::Well
            }
            Ok(Some(plan)) => self.carry_out(plan, &mut record, &mut held).await,
        };
        self.records.set(&held.key, record);
        let name = self.lane.controller.name();
        self.metrics.reconciled(name, ended, began.elapsed());
    }

    fn plan(&self, key: &ObjectKey, record: &Record) -> Result<Option<Plan>, Panicked> {
        let now = self.ambient.now();
        let controller = &self.lane.controller;
        let planned = catch_unwind(AssertUnwindSafe(|| {
            let caches = self.world.caches();
            let seen = Seen {
                caches: &caches,
                now,
                memory: &record.memory,
                failure: record.failure.as_ref(),
            };
            controller.plan(key, &seen)
        }));
        planned.map_err(|_| {
            tracing::error!(controller = controller.name(), %key, "a planner panicked");
            Panicked
        })
    }

    /// Does what a plan says and decides when the key is next.
    async fn carry_out(&self, plan: Plan, record: &mut Record, held: &mut Held) -> Ended {
        let name = self.lane.controller.name();
        for note in plan.notes {
            tracing::debug!(reason = %note.reason, message = note.message, "noted");
            self.executor.recorder.tell(name, note);
        }
        if let Some(memory) = plan.memory {
            record.memory = memory;
        }
        let outcome = self.executor.execute(&plan.actions, plan.status).await;
        let Outcome {
            expected,
            is_behind,
            failure,
        } = outcome;
        held.expected = expected;
        let at = self.instant(plan.requeue);
        if let Some(failure) = &failure {
            let (verb, kind) = (failure.verb, &failure.kind.kind);
            tracing::warn!(controller = name, key = %held.key, ?verb, %kind, error = failure.message, "an action failed");
        }
        record.failure = failure;
        held.next = Next::Retry(at);
        if record.failure.is_some() {
            return Ended::Failed;
        }
        if is_behind {
            return Ended::Behind;
        }
        let mut learnt = Learnt::Nothing;
        for lookup in &plan.lookups {
            match self.lookups.look(lookup).await {
                Ok(Learnt::Something) => learnt = Learnt::Something,
                Ok(Learnt::Nothing) => {}
                Err(refusal) => {
                    let error = refusal.told();
                    tracing::warn!(controller = name, key = %held.key, error, "a lookup failed");
                    return Ended::Failed;
                }
            }
        }
        if plan.lookups.is_empty() {
            record.lookups = 0;
            held.next = Next::Wait(at);
        } else if learnt == Learnt::Something && record.lookups < LOOKUPS_AT_ONCE {
            record.lookups += 1;
            held.next = Next::Again;
        }
        Ended::Well
    }

    /// When a time comes.
    fn instant(&self, requeue: Requeue) -> Option<Instant> {
        let Requeue::At(at) = requeue else {
            return None;
        };
        Some(Instant::now() + until(at, self.ambient.now()))
    }
}

/// A planner has a bug; it was told.
struct Panicked;

/// How long it is until `at`, within bounds. A little more, so that at the end of it the time has come by any clock.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    (left + Duration::from_millis(1)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded() {
        let now = Timestamp::from_second(1000).unwrap();
        let after = |seconds: i64| until(Timestamp::from_second(1000 + seconds).unwrap(), now);
        assert_eq!(after(5), Duration::from_millis(5001));
        assert_eq!(after(-5), Duration::from_millis(1));
        assert_eq!(until(Timestamp::MAX, now), LONGEST_WAIT);
    }

    #[test]
    fn only_what_is_worth_it_is_remembered() {
        let records = Records::default();
        let key = ObjectKey::cluster("a");
        let record = Record {
            memory: Memory::MissingSince(Timestamp::UNIX_EPOCH),
            ..Record::default()
        };
        records.set(&key, record.clone());
        assert_eq!(records.get(&key), record);
        records.set(&key, Record::default());
        assert!(records.0.lock().is_empty());
    }
}
