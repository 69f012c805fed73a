//! Folds finished segments into the tree and removes them, in a thread of its own and off the path of every answer.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    backlog::Backlog,
    entry::{Entry, Put},
    segment,
    tree::Tree,
};
use crate::{error::StoreError, metrics::StoreMetrics};

/// How long to wait after the disk failed before trying again: soon at first, then long enough not to fill logs and short enough that freeing space
/// helps at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// What the checkpoint works with.
pub(super) struct Checkpoint {
    /// `None` after an error, which sled does not go on from: it is then opened anew.
    pub(super) tree: Option<Tree>,
    pub(super) tree_folder: PathBuf,
    pub(super) cache_bytes: u64,
    /// Where the segments are.
    pub(super) folder: PathBuf,
    pub(super) backlog: Arc<Backlog>,
    pub(super) metrics: StoreMetrics,
}

impl Checkpoint {
    /// Works until the store closes. A segment stays, and nothing is lost, until it is safely in the tree. Trouble with the disk is tried again;
    /// a damaged tree ends it, and the writer with it once enough segments wait.
    pub(super) fn run(mut self) {
        let mut pause = PAUSES.0;
        while let Some((path, _)) = self.backlog.next() {
            let error = match self.fold(&path) {
                Ok(()) => {
                    self.backlog.done();
                    pause = PAUSES.0;
                    continue;
                }
                Err(error) => error,
            };
            tracing::error!(segment = %path.display(), %error, "checkpoint failed: the log is kept and grows");
            self.metrics.checkpoint_failures.inc();
            let why = format!("checkpoint: {error}");
            if matches!(error, StoreError::Corrupt { .. }) {
                self.backlog.ended(why);
                return;
            }
            self.tree = None;
            self.backlog.failed(why, pause);
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Brings one segment's transactions into the tree, makes that durable, and only then removes the segment.
    fn fold(&mut self, path: &Path) -> Result<(), StoreError> {
        let contents = segment::read(path)?;
        let tree = match self.tree.take() {
            Some(tree) => tree,
            None => Tree::open(&self.tree_folder, self.cache_bytes)?,
        };
        let tree = self.tree.insert(tree);
        let known = tree.revision()?.unwrap_or_default();
        if contents.base > known {
            return Err(StoreError::Corrupt {
                reason: format!(
                    "the checkpoint fell back to revision {known}, the log begins at {}",
                    contents.base
                ),
            });
        }
        let reached = contents.last();
        let mut newest: BTreeMap<Arc<str>, Put> = BTreeMap::new();
        for entry in contents.entries {
            if let Entry::Txn { puts, .. } = entry {
                newest.extend(puts.into_iter().map(|put| (Arc::clone(&put.key), put)));
            }
        }
        if reached > known {
            let bytes = tree.write(newest.values(), reached)?;
            self.metrics.checkpointed(bytes);
        }
        tree.sync()?;
        remove(&self.folder, path)
    }
}

fn remove(folder: &Path, path: &Path) -> Result<(), StoreError> {
    let gone = fs::remove_file(path).and_then(|()| segment::sync_folder(folder));
    gone.map_err(|error| StoreError::Unavailable {
        reason: format!("remove {}: {error}", path.display()),
    })
}
