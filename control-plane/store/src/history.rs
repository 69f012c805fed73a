//! The recent past: a ring of events, bounded in number and bytes, from which watches resume and older lists are undone. No I/O, no locks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{error::StoreError, revision::Revision, watch::Event};

/// What of the past is kept. Both bounds hold; the older event goes first.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// At most so many events.
    pub events: usize,
    /// At most so many bytes of keys and values held only by history (an upper estimate).
    pub bytes: usize,
}

impl Default for HistoryLimits {
    /// 100,000 events or 64 MiB: minutes of a busy cluster, the order of Kubernetes' five-minute compaction, at a bounded price in memory.
    fn default() -> Self {
        Self {
            events: 100_000,
            bytes: 64 << 20,
        }
    }
}

/// The ring. `floor` is the newest revision whose events are gone: history can be asked for from `floor` on.
#[derive(Debug)]
pub struct History {
    limits: HistoryLimits,
    events: VecDeque<Event>,
    bytes: usize,
    floor: Revision,
    /// Prefixes under which events up to a revision are not known, though others of the time are.
    holes: BTreeMap<Arc<str>, Revision>,
}

impl History {
    /// An empty history that begins after `floor`.
    #[must_use]
    pub fn new(limits: HistoryLimits, floor: Revision) -> Self {
        Self {
            limits,
            events: VecDeque::new(),
            bytes: 0,
            floor,
            holes: BTreeMap::new(),
        }
    }

    /// The oldest revision that can be read or watched from, whatever the prefix.
    #[must_use]
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// The oldest revision from which everything under `prefix` is known.
    #[must_use]
    pub fn floor_of(&self, prefix: &str) -> Revision {
        let overlapping = self
            .holes
            .iter()
            .filter(|(hole, _)| hole.starts_with(prefix) || prefix.starts_with(&***hole))
            .map(|(_, to)| *to);
        overlapping.fold(self.floor, Revision::max)
    }

    /// Marks that events under `prefix` up to `to` are not known.
    pub fn lose(&mut self, prefix: &Arc<str>, to: Revision) {
        let hole = self.holes.entry(Arc::clone(prefix)).or_default();
        *hole = (*hole).max(to);
    }

    /// All kept events, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// How many events are kept, and the bytes they are taken to hold.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.events.len(), self.bytes)
    }

    /// Adds the events of one transaction and drops what is over the limits, whole transactions at a time.
    pub fn push(&mut self, events: &[Event]) {
        for event in events {
            self.bytes += weight(event);
            self.events.push_back(event.clone());
        }
        while self.events.len() > self.limits.events || self.bytes > self.limits.bytes {
            match self.events.front() {
                Some(front) => self.compact(front.revision),
                None => break,
            }
        }
    }

    /// Forgets every event up to and with revision `to`.
    pub fn compact(&mut self, to: Revision) {
        while let Some(front) = self.events.front() {
            if front.revision > to {
                break;
            }
            self.bytes -= weight(front);
            self.events.pop_front();
        }
        self.floor = self.floor.max(to);
        let floor = self.floor;
        self.holes.retain(|_, lost| *lost > floor);
    }

    /// The kept events after revision `after` whose key starts with `prefix`, oldest first.
    ///
    /// # Errors
    /// `Compacted` when some of them may be gone.
    pub fn after<'a>(
        &'a self,
        after: Revision,
        prefix: &'a str,
    ) -> Result<impl DoubleEndedIterator<Item = &'a Event>, StoreError> {
        let oldest = self.floor_of(prefix);
        if after < oldest {
            return Err(StoreError::Compacted { oldest });
        }
        let start = self.events.partition_point(|event| event.revision <= after);
        Ok(self
            .events
            .range(start..)
            .filter(move |event| event.key().starts_with(prefix)))
    }
}

/// What an event holds in memory beyond the store's current values, counted too high rather than too low.
fn weight(event: &Event) -> usize {
    /// A deque slot, two `Arc` headers and two record structs.
    const OVERHEAD: usize = 256;
    let of = |record: Option<&std::sync::Arc<crate::Record>>| {
        record.map_or(0, |r| r.key.len() + r.value.len())
    };
    OVERHEAD + of(event.current.as_ref()) + of(event.previous.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn put(key: &str, revision: u64, value: usize) -> Event {
        let record = Record {
            key: Arc::from(key),
            value: vec![b'v'; value].into(),
            created: Revision(revision),
            modified: Revision(revision),
        };
        Event {
            revision: Revision(revision),
            current: Some(Arc::new(record)),
            previous: None,
        }
    }

    #[test]
    fn the_ring_is_bounded_by_bytes_and_keeps_whole_transactions() {
        let limits = HistoryLimits {
            events: usize::MAX,
            bytes: 1 << 20,
        };
        let mut history = History::new(limits, Revision(0));
        for revision in 1..=100 {
            history.push(&[put("/a", revision, 20_000), put("/b", revision, 20_000)]);
            assert!(history.size().1 <= limits.bytes);
        }
        let oldest = history.events().next().unwrap().revision;
        assert_eq!(history.floor().next(), oldest);
        let halves = history.events().filter(|event| event.revision == oldest);
        assert_eq!(halves.count(), 2);
        assert!(history.size().0 >= 50, "far less is kept than fits");
    }

    #[test]
    fn one_transaction_over_the_limit_leaves_an_empty_history() {
        let limits = HistoryLimits {
            events: 10,
            bytes: 1000,
        };
        let mut history = History::new(limits, Revision(0));
        history.push(&[put("/a", 1, 5000)]);
        assert_eq!((history.size(), history.floor()), ((0, 0), Revision(1)));
    }

    #[test]
    fn what_was_lost_under_a_prefix_is_missed_by_those_who_look_there() {
        let mut history = History::new(HistoryLimits::default(), Revision(0));
        history.lose(&Arc::from("/leases/"), Revision(7));
        for missing in ["/leases/", "/leases/ns/", "/", ""] {
            assert_eq!(history.floor_of(missing), Revision(7), "{missing:?}");
        }
        assert_eq!(history.floor_of("/pods/"), Revision(0));
        assert!(history.after(Revision(6), "/leases/").is_err());
        assert!(history.after(Revision(6), "/pods/").is_ok());
        history.compact(Revision(7));
        assert!(history.after(Revision(7), "/leases/").is_ok());
    }
}
