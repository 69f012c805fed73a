//! Wakes watches: one signal per watched prefix, so that a change wakes who asked for it and nobody else. Carries no events.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{revision::Revision, watch::Event};

/// The signals of one store.
#[derive(Debug, Default)]
pub struct Signals {
    by_prefix: RwLock<BTreeMap<Arc<str>, watch::Sender<Revision>>>,
}

/// When this many prefixes are known, those nobody listens to any more are dropped at the next subscription.
const SWEEP_AT: usize = 256;

impl Signals {
    /// A receiver that changes after each announced event under `prefix`. Subscribe before reading the state, so that nothing falls between.
    pub fn subscribe(&self, prefix: &str) -> watch::Receiver<Revision> {
        if let Some(sender) = self.by_prefix.read().get(prefix) {
            return sender.subscribe();
        }
        let mut by_prefix = self.by_prefix.write();
        if by_prefix.len() >= SWEEP_AT {
            by_prefix.retain(|_, sender| sender.receiver_count() > 0);
        }
        by_prefix
            .entry(Arc::from(prefix))
            .or_insert_with(|| watch::Sender::new(Revision(0)))
            .subscribe()
    }

    /// Tells every watcher concerned that `events` can be read now.
    pub fn announce(&self, events: &[Event]) {
        let by_prefix = self.by_prefix.read();
        for event in events {
            let key = event.key();
            // As many as distinct watched prefixes: tens.
            for (prefix, sender) in by_prefix.iter() {
                if key.starts_with(&**prefix) {
                    sender.send_replace(event.revision);
                }
            }
        }
    }

    /// Tells every watcher to look, whatever it watches.
    pub fn wake_all(&self, revision: Revision) {
        for sender in self.by_prefix.read().values() {
            sender.send_replace(revision);
        }
    }
}
