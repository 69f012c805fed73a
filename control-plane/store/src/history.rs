//! The recent past: a ring of events, bounded in number and bytes, from which watches resume and older lists are undone. No I/O, no locks.

use std::collections::VecDeque;

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
        }
    }

    /// The oldest revision that can be read or watched from.
    #[must_use]
    pub fn floor(&self) -> Revision {
        self.floor
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
        if after < self.floor {
            return Err(StoreError::Compacted { oldest: self.floor });
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
