//! The event stream of a prefix. Bounded: a watcher that falls behind the kept history is told `Compacted`, and holds nobody up.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{error::StoreError, record::Record, revision::Revision};

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub revision: Revision,
    /// What the key holds now; `None` when it was deleted.
    pub current: Option<Arc<Record>>,
    /// What the key held before; `None` when it was created.
    pub previous: Option<Arc<Record>>,
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match (&self.current, &self.previous) {
            (Some(record), _) | (None, Some(record)) => &record.key,
            (None, None) => "",
        }
    }

    /// The key that changed, shared with the record.
    pub(crate) fn shared_key(&self) -> Arc<str> {
        match (&self.current, &self.previous) {
            (Some(record), _) | (None, Some(record)) => Arc::clone(&record.key),
            (None, None) => Arc::from(""),
        }
    }
}

/// Where a watch gets its events from: the shared state of an implementation.
pub trait Source: Send + Sync {
    /// The events after `after` under `prefix`, about `limit` of them but always whole transactions, and the revision up to which they are
    /// complete (to go on from).
    ///
    /// # Errors
    /// `Compacted` when some are gone.
    fn events_after(
        &self,
        prefix: &str,
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Event>, Revision), StoreError>;
}

/// A running watch. Pull-based: it copies from the shared history when asked, so an idle or slow watcher costs its position and nothing more.
pub struct Watch {
    source: Arc<dyn Source>,
    /// Changes whenever something under the prefix did.
    signal: watch::Receiver<Revision>,
    prefix: String,
    position: Revision,
}

/// How many events are taken from history in one go. More would hold the state's read lock longer, less would take it more often.
const BATCH: usize = 512;

impl Watch {
    /// A watch of `prefix` from after `position`; `signal` wakes it.
    #[must_use]
    pub fn new(
        source: Arc<dyn Source>,
        signal: watch::Receiver<Revision>,
        prefix: String,
        position: Revision,
    ) -> Self {
        Self {
            source,
            signal,
            prefix,
            position,
        }
    }

    /// Waits for the next events of the prefix, whole transactions, in order.
    ///
    /// # Cancellation
    /// Safe: no event is lost when the future is dropped.
    /// # Errors
    /// `Compacted`: this watcher was too slow, the watch is over. `Unavailable`: the store is closed.
    pub async fn next(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            self.signal.mark_unchanged();
            if let Some(events) = self.try_next()? {
                return Ok(events);
            }
            if self.signal.changed().await.is_err() {
                return Err(StoreError::Unavailable {
                    reason: "the store is closed".to_owned(),
                });
            }
        }
    }

    /// The next events if there are any now.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<Vec<Event>>, StoreError> {
        loop {
            let (events, reached) = self
                .source
                .events_after(&self.prefix, self.position, BATCH)?;
            let advanced = reached > self.position;
            self.position = reached;
            if !events.is_empty() {
                return Ok(Some(events));
            }
            if !advanced {
                return Ok(None);
            }
        }
    }

    /// Everything of the prefix up to this revision has been handed out. After [`Watch::try_next`] said `None` it is the store's revision of
    /// that moment: what a bookmark may say.
    #[must_use]
    pub fn position(&self) -> Revision {
        self.position
    }
}
