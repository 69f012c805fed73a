//! Read your own writes: which keys must not be planned before the caches show what was written for them. Pure; the caches tell how far they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use coracle_api::names::ObjectKey;
use coracle_controllers::kind::Kind;
use tokio::time::Instant;

use super::queue::Next;

/// So long a key is held back at most; upstream's number. Half of it would plan on caches that a slow network keeps behind; double leaves a key idle longer
/// than people wait when something was wrong with the expectation.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// What the caches will show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The kind as of this revision. Revisions of all kinds are drawn from one counter.
    Revision(Kind, u64),
    /// That the object with this uid is gone or is being deleted.
    Ending(String),
}

/// The keys of one controller that are held back.
#[derive(Debug, Default)]
pub struct Expectations {
    held: BTreeMap<ObjectKey, Held>,
    by_kind: BTreeMap<Kind, BTreeSet<(u64, ObjectKey)>>,
    by_uid: BTreeMap<String, BTreeSet<ObjectKey>>,
    deadlines: BTreeSet<(Instant, ObjectKey)>,
}

#[derive(Debug)]
struct Held {
    /// How many expectations are not met.
    open: usize,
    next: Next,
    until: Instant,
}

/// A key that is free, and what is to become of it.
pub type Freed = (ObjectKey, Next);

impl Expectations {
    /// Holds a key back until all of `expected` are met. A key is held at most once.
    pub fn hold(&mut self, key: ObjectKey, expected: Vec<Expected>, next: Next, now: Instant) {
        let mut open = 0;
        let mut newest: BTreeMap<Kind, u64> = BTreeMap::new();
        for one in expected {
            match one {
                Expected::Revision(kind, revision) => {
                    let newest = newest.entry(kind).or_default();
                    *newest = revision.max(*newest);
                }
                Expected::Ending(uid) => {
                    open += usize::from(self.by_uid.entry(uid).or_default().insert(key.clone()));
                }
            }
        }
        for (kind, revision) in newest {
            let waiting = self.by_kind.entry(kind).or_default();
            open += usize::from(waiting.insert((revision, key.clone())));
        }
        let until = now + PATIENCE;
        self.deadlines.insert((until, key.clone()));
        self.held.insert(key, Held { open, next, until });
    }

    /// The cache of a kind is as of `revision`.
    pub fn caught_up(&mut self, kind: &Kind, revision: u64) -> Vec<Freed> {
        let Some(waiting) = self.by_kind.get_mut(kind) else {
            return Vec::new();
        };
        let mut met = Vec::new();
        while let Some((at, _)) = waiting.first()
            && *at <= revision
        {
            met.extend(waiting.pop_first().map(|(_, key)| key));
        }
        if waiting.is_empty() {
            self.by_kind.remove(kind);
        }
        met.into_iter().filter_map(|key| self.met(key)).collect()
    }

    /// The caches show that an object is gone or is being deleted.
    pub fn ended(&mut self, uid: &str) -> Vec<Freed> {
        let met = self.by_uid.remove(uid).unwrap_or_default();
        met.into_iter().filter_map(|key| self.met(key)).collect()
    }

    /// The keys that have been held back for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<Freed> {
        let mut freed = Vec::new();
        while let Some((until, _)) = self.deadlines.first()
            && *until <= now
        {
            let Some((_, key)) = self.deadlines.pop_first() else {
                break;
            };
            self.forget(&key);
            if let Some(held) = self.held.remove(&key) {
                freed.push((key, held.next));
            }
        }
        freed
    }

    /// When the next key has been held back for too long.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    fn met(&mut self, key: ObjectKey) -> Option<Freed> {
        let held = self.held.get_mut(&key)?;
        held.open = held.open.saturating_sub(1);
        if held.open > 0 {
            return None;
        }
        let held = self.held.remove(&key)?;
        self.deadlines.remove(&(held.until, key.clone()));
        Some((key, held.next))
    }

    /// Takes a key out of what is waited for. Looks at everything, which is rare enough.
    fn forget(&mut self, key: &ObjectKey) {
        self.by_kind.retain(|_, waiting| {
            waiting.retain(|(_, one)| one != key);
            !waiting.is_empty()
        });
        self.by_uid.retain(|_, waiting| {
            waiting.remove(key);
            !waiting.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::cluster(name)
    }

    fn pods(revision: u64) -> Expected {
        Expected::Revision(Kind::POD, revision)
    }

    #[test]
    fn a_key_is_free_when_all_is_seen() {
        let now = Instant::now();
        let mut expectations = Expectations::default();
        let all = vec![
            pods(5),
            pods(9),
            pods(7),
            Expected::Ending("u".to_owned()),
            Expected::Revision(Kind::JOB, 3),
        ];
        expectations.hold(key("a"), all, Next::Again, now);
        assert_eq!(expectations.caught_up(&Kind::POD, 8), []);
        assert_eq!(expectations.caught_up(&Kind::JOB, 100), []);
        assert_eq!(expectations.ended("other"), []);
        assert_eq!(expectations.ended("u"), []);
        assert_eq!(
            expectations.caught_up(&Kind::POD, 9),
            [(key("a"), Next::Again)]
        );
        assert_eq!(expectations.due(), None);
        assert!(expectations.by_kind.is_empty() && expectations.by_uid.is_empty());
    }

    #[test]
    fn keys_wait_for_themselves() {
        let now = Instant::now();
        let mut expectations = Expectations::default();
        expectations.hold(key("a"), vec![pods(5)], Next::Again, now);
        expectations.hold(key("b"), vec![pods(5)], Next::Wait(None), now);
        expectations.hold(key("c"), vec![pods(6)], Next::Again, now);
        let freed = expectations.caught_up(&Kind::POD, 5);
        assert_eq!(
            freed,
            [(key("a"), Next::Again), (key("b"), Next::Wait(None))]
        );
    }

    #[test]
    fn patience_ends() {
        let now = Instant::now();
        let mut expectations = Expectations::default();
        let all = vec![pods(5), Expected::Ending("u".to_owned())];
        expectations.hold(key("a"), all, Next::Again, now);
        assert_eq!(expectations.due(), Some(now + PATIENCE));
        assert_eq!(expectations.expire(now), []);
        assert_eq!(
            expectations.expire(now + PATIENCE),
            [(key("a"), Next::Again)]
        );
        assert_eq!(expectations.caught_up(&Kind::POD, 5), []);
        assert_eq!(expectations.ended("u"), []);
    }
}
