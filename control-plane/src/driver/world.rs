//! What all controllers see: the caches, how far they are, and who has to be told of a change. Written by the reflectors only, and by lookups that learned
//! what no watch tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coracle_controllers::{
    caches::{Applied, Caches},
    kind::Kind,
};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Notify, watch};

use super::{
    expectations::Expected,
    lane::Lane,
    served::Served,
    shelf::{Item, Place, Shelf, WHOLE},
};

/// The shared state of a driver.
pub struct World {
    caches: RwLock<Caches>,
    /// The revision each kind is cached at. Raised after the caches show it, never before.
    revisions: RwLock<BTreeMap<Kind, u64>>,
    served: RwLock<Arc<Served>>,
    lanes: Vec<Arc<Lane>>,
    /// The kinds that were not listed yet; `None` for others until discovery has said which there are.
    missing: Mutex<Missing>,
    synced: watch::Sender<Synced>,
    /// An autoscaler came or changed.
    pub autoscalers_changed: Notify,
}

struct Missing {
    whole: BTreeSet<Kind>,
    others: Option<BTreeSet<Kind>>,
}

/// What has been listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// All kinds that are cached whole.
    pub whole: bool,
    /// Those, and all others that were served when the driver started.
    pub all: bool,
}

impl World {
    /// A world of which nothing is known.
    #[must_use]
    pub fn new(lanes: Vec<Arc<Lane>>) -> Self {
        Self {
            caches: RwLock::default(),
            revisions: RwLock::default(),
            served: RwLock::default(),
            lanes,
            missing: Mutex::new(Missing {
                whole: WHOLE.iter().cloned().collect(),
                others: None,
            }),
            synced: watch::Sender::new(Synced::default()),
            autoscalers_changed: Notify::new(),
        }
    }

    /// The controllers.
    #[must_use]
    pub fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }

    /// The caches. Not to be held while waiting for anything.
    pub fn caches(&self) -> RwLockReadGuard<'_, Caches> {
        self.caches.read()
    }

    /// The kinds that are served.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read())
    }

    /// Waits until as much has been listed as `enough` wants.
    pub async fn synced(&self, enough: impl FnMut(&Synced) -> bool) {
        let mut synced = self.synced.subscribe();
        // Cannot fail: the sender lives as long as this.
        drop(synced.wait_for(enough).await);
    }

    /// Learns which kinds are served.
    pub fn discovered(&self, served: Served) {
        let watched: BTreeSet<Kind> = served.watched().map(|kind| (**kind).clone()).collect();
        *self.served.write() = Arc::new(served);
        let mut missing = self.missing.lock();
        missing.others.get_or_insert(watched);
        self.tell(&missing);
    }

    /// All objects of a kind have been seen, as of `revision`.
    pub fn listed(&self, kind: &Kind, revision: u64) {
        self.advance(kind, revision);
        let mut missing = self.missing.lock();
        missing.whole.remove(kind);
        if let Some(others) = &mut missing.others {
            others.remove(kind);
        }
        self.tell(&missing);
    }

    fn tell(&self, missing: &Missing) {
        let whole = missing.whole.is_empty();
        let all = whole && missing.others.as_ref().is_some_and(BTreeSet::is_empty);
        self.synced.send_if_modified(|synced| {
            let new = Synced { whole, all };
            let differs = *synced != new;
            *synced = new;
            differs
        });
    }

    /// An object is as `item` says. Nothing happens where that is known.
    pub fn insert(&self, shelf: &Shelf, item: Item) {
        let Place { key, uid } = &item.place;
        let mut ending = Vec::from_iter(item.is_ending.then(|| uid.clone()));
        let mut caches = self.caches.write();
        if shelf.cached_at(&caches, &item.place) != Some(item.revision) {
            // Where there was another object of that name, its end was missed.
            let before = caches.graph.uid_at(&shelf.kind, key);
            ending.extend(before.filter(|before| *before != uid).cloned());
            let applied = item.insert(&mut caches, &shelf.kind);
            self.spread(Some(&shelf.kind), &applied, caches);
        } else {
            drop(caches);
        }
        if *shelf.kind == Kind::AUTOSCALER {
            self.autoscalers_changed.notify_one();
        }
        for uid in ending {
            self.ended(&uid);
        }
    }

    /// An object is gone.
    pub fn remove(&self, shelf: &Shelf, place: &Place) {
        let mut caches = self.caches.write();
        if *shelf.kind == Kind::NAMESPACE {
            caches.contents.remove(&place.key.name);
        }
        if let Some(applied) = shelf.remove(&mut caches, place) {
            self.spread(Some(&shelf.kind), &applied, caches);
        } else {
            drop(caches);
        }
        self.ended(&place.uid);
    }

    /// The caches of a kind show everything up to `revision`.
    pub fn advance(&self, kind: &Kind, revision: u64) {
        {
            let mut revisions = self.revisions.write();
            let at = revisions.entry(kind.clone()).or_default();
            *at = revision.max(*at);
        }
        for lane in &self.lanes {
            lane.caught_up(kind, revision);
        }
    }

    fn ended(&self, uid: &str) {
        for lane in &self.lanes {
            lane.ended(uid);
        }
    }

    /// Forgets a kind that is no longer served.
    pub fn forget(&self, shelf: &Shelf) {
        let places = shelf.places(&self.caches());
        for place in places {
            self.remove(shelf, &place);
        }
        self.revisions.write().remove(&*shelf.kind);
        let mut missing = self.missing.lock();
        if let Some(others) = &mut missing.others {
            others.remove(&*shelf.kind);
        }
        self.tell(&missing);
    }

    /// Notes what was learned otherwise than by watching. `learn` gives the uids of objects to be looked at because of it.
    pub fn learn(&self, learn: impl FnOnce(&mut Caches) -> Vec<String>) {
        let mut caches = self.caches.write();
        let touched = learn(&mut caches);
        if touched.is_empty() {
            return;
        }
        let applied = Applied {
            old: None,
            new: None,
            touched,
        };
        self.spread(None, &applied, caches);
    }

    /// Tells controllers of a change, the change being in the caches.
    fn spread(&self, kind: Option<&Kind>, applied: &Applied, caches: RwLockWriteGuard<'_, Caches>) {
        // Planners may read again while this is worked out.
        let caches = RwLockWriteGuard::downgrade(caches);
        let keys: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| lane.keys(kind, applied, &caches))
            .collect();
        drop(caches);
        for (lane, keys) in self.lanes.iter().zip(keys) {
            if !keys.is_empty() {
                lane.add(keys);
            }
        }
    }

    /// Whether the caches show what is expected of them. What is not followed cannot be waited for.
    #[must_use]
    pub fn shows(&self, expected: &Expected) -> bool {
        match expected {
            Expected::Revision(kind, revision) => {
                let revisions = self.revisions.read();
                revisions.get(kind).is_none_or(|at| at >= revision)
            }
            Expected::Ending(uid) => {
                let caches = self.caches.read();
                caches.graph.get(uid).is_none_or(|one| one.deleting)
            }
        }
    }
}
