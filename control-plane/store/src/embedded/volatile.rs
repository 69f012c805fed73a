//! Volatile changes over an orderly restart: written once at close, read once at open. After a crash there is no such file, or one that does
//! not belong to the log's end, and the changes are gone, which is what volatile means.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::frame::{Frame, Put};
use crate::{error::StoreError, revision::Revision, state::State};

fn path(folder: &Path) -> PathBuf {
    folder.join("volatile")
}

/// Keeps the present content of `keys`, true at `revision`.
pub(super) fn save(
    folder: &Path,
    state: &State,
    keys: &BTreeSet<Arc<str>>,
    revision: Revision,
) -> io::Result<()> {
    let puts = keys
        .iter()
        .map(|key| Put {
            key: Arc::clone(key),
            record: state.get(key).cloned(),
            hides_volatile: false,
        })
        .collect();
    let mut bytes = Vec::new();
    Frame::Txn { revision, puts }.encode(&mut bytes);
    let aside = folder.join("new-volatile");
    let mut file = File::create(&aside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(aside, path(folder))?;
    super::segment::sync_folder(folder)
}

/// What was kept at `revision`. Nothing when there is no file, or it is of another time or damaged: volatile content is not worth refusing to
/// open for.
pub(super) fn load(folder: &Path, revision: Revision) -> Result<Vec<Put>, StoreError> {
    let bytes = match fs::read(path(folder)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(StoreError::Unavailable {
                reason: format!("read {}: {error}", path(folder).display()),
            });
        }
    };
    match Frame::decode(&bytes) {
        Some((Frame::Txn { revision: of, puts }, _)) if of == revision => Ok(puts),
        _ => {
            tracing::warn!("volatile content of the last run is unreadable and dropped");
            Ok(Vec::new())
        }
    }
}

/// Forgets what was kept.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(path(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
