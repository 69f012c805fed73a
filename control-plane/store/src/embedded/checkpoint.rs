//! Folds finished segments into the tree and removes them, in a thread of its own and off the path of every answer.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Receiver},
};

use super::{
    frame::{Frame, Put},
    segment,
    tree::Tree,
};
use crate::{error::StoreError, revision::Revision};

/// Works until `segments` ends. After an error it stops: segments then stay, the log grows, and nothing is lost; the next open tries again.
pub(super) fn run(tree: &Tree, folder: &Path, segments: &Receiver<PathBuf>) {
    while let Ok(path) = segments.recv() {
        if let Err(error) = fold(tree, folder, &path) {
            tracing::error!(segment = %path.display(), %error, "checkpoint failed: the log is kept and grows until the next start");
            return;
        }
    }
}

/// Brings one segment's transactions into the tree, makes that durable, and only then removes the segment.
fn fold(tree: &Tree, folder: &Path, path: &Path) -> Result<(), StoreError> {
    let contents = segment::read(path, false)?;
    let mut newest: BTreeMap<Arc<str>, Put> = BTreeMap::new();
    let mut revision: Option<Revision> = None;
    for frame in contents.frames {
        if let Frame::Txn { revision: at, puts } = frame {
            revision = Some(at);
            newest.extend(puts.into_iter().map(|put| (Arc::clone(&put.key), put)));
        }
    }
    let known = tree.revision()?.unwrap_or_default();
    let reached = revision.unwrap_or(contents.base).max(known);
    if reached > known {
        tree.write(newest.values(), reached)?;
    }
    tree.sync()?;
    let gone = fs::remove_file(path).and_then(|()| segment::sync_folder(folder));
    gone.map_err(|error| StoreError::Unavailable {
        reason: format!("remove {}: {error}", path.display()),
    })
}
