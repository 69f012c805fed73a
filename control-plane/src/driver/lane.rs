//! A controller at work: the controller, what it watches, its queue and what its keys wait for, behind one lock that is held for moments.

use coracle_api::names::ObjectKey;
use coracle_controllers::{
    caches::{Applied, Caches},
    controller::{Controller, Watch},
    kind::Kind,
};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    expectations::{Expectations, Expected, Freed},
    queue::{Next, Queue},
};

/// One controller with its work.
pub struct Lane {
    /// The controller.
    pub controller: Box<dyn Controller>,
    watches: Vec<Watch>,
    work: Mutex<Work>,
    /// There may be something to do, or an earlier time to wait for.
    changed: Notify,
}

#[derive(Default)]
struct Work {
    queue: Queue,
    expectations: Expectations,
}

impl Work {
    fn due(&self) -> Option<Instant> {
        let times = self.queue.due().into_iter().chain(self.expectations.due());
        times.min()
    }
}

impl Lane {
    /// A lane without work.
    #[must_use]
    pub fn new(controller: Box<dyn Controller>) -> Self {
        Self {
            watches: controller.watches(),
            controller,
            work: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether the controller has to know of all kinds before it may plan.
    #[must_use]
    pub fn needs_all_kinds(&self) -> bool {
        self.watches.iter().any(|watch| watch.kind.is_none())
    }

    /// Whether the controller watches a kind by name.
    #[must_use]
    pub fn watches(&self, kind: &Kind) -> bool {
        self.watches
            .iter()
            .any(|watch| watch.kind.as_ref() == Some(kind))
    }

    /// The keys that a change makes the controller plan for.
    #[must_use]
    pub fn keys(&self, kind: Option<&Kind>, applied: &Applied, caches: &Caches) -> Vec<ObjectKey> {
        let change = applied.change(caches);
        let watches = self.watches.iter().filter(|watch| match kind {
            Some(kind) => watch.covers(kind),
            None => watch.kind.is_none(),
        });
        watches.flat_map(|watch| (watch.keys)(&change)).collect()
    }

    /// Has keys planned.
    pub fn add(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        let now = Instant::now();
        let mut work = self.work.lock();
        for key in keys {
            work.queue.add(key, now);
        }
        drop(work);
        self.changed.notify_one();
    }

    /// The cache of a kind is as of `revision`.
    pub fn caught_up(&self, kind: &Kind, revision: u64) {
        self.free(|expectations| expectations.caught_up(kind, revision));
    }

    /// The caches show that an object is gone or is being deleted.
    pub fn ended(&self, uid: &str) {
        self.free(|expectations| expectations.ended(uid));
    }

    fn free(&self, freed: impl FnOnce(&mut Expectations) -> Vec<Freed>) {
        let mut work = self.work.lock();
        let freed = freed(&mut work.expectations);
        if freed.is_empty() {
            return;
        }
        let now = Instant::now();
        for (key, next) in freed {
            work.queue.finish(key, next, now);
        }
        drop(work);
        self.changed.notify_one();
    }

    /// Takes back a key that was worked on, once the caches show what was done for it. `is_met` says whether they do already; it is asked while nothing can
    /// be missed.
    pub fn finish(
        &self,
        key: ObjectKey,
        mut expected: Vec<Expected>,
        next: Next,
        is_met: impl Fn(&Expected) -> bool,
    ) {
        let now = Instant::now();
        let mut work = self.work.lock();
        expected.retain(|one| !is_met(one));
        if expected.is_empty() {
            work.queue.finish(key, next, now);
        } else {
            work.expectations.hold(key, expected, next, now);
        }
        drop(work);
        self.changed.notify_one();
    }

    /// The next key to plan for. It is not given out again before it is finished. Cancel-safe.
    pub async fn next(&self) -> ObjectKey {
        loop {
            let now = Instant::now();
            let (key, due) = {
                let mut work = self.work.lock();
                for (key, next) in work.expectations.expire(now) {
                    tracing::warn!(controller = self.controller.name(), %key, "the caches never showed what was written");
                    work.queue.finish(key, next, now);
                }
                (work.queue.take(now), work.due())
            };
            if let Some(key) = key {
                return key;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep(due) => {}
            }
        }
    }

    /// How often in a row plans for a key have failed.
    #[must_use]
    pub fn failures(&self, key: &ObjectKey) -> u32 {
        self.work.lock().queue.failures(key)
    }

    /// How many keys wait for somebody to plan for them.
    #[must_use]
    pub fn n_ready(&self) -> usize {
        self.work.lock().queue.n_ready()
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
