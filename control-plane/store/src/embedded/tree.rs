//! The state at the last checkpoint, in sled. Never the only copy of anything until [`Tree::sync`] has returned, because sled 0.34 calls its
//! `flush` durable when it is not (it writes with sync_file_range and never syncs its small files).

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::frame::Put;
use crate::{error::StoreError, record::Record, revision::Revision};

/// Values longer than this are cut into pieces: sled keeps 16 entries in a leaf, and turns a leaf over a quarter of its segment into a file of
/// its own, which it neither syncs nor removes reliably.
const PIECE: usize = 128 << 10;
/// Larger batches pin garbage in sled's epochs until memory is gone.
const BATCH: usize = 256;
/// Key prefixes: records, further pieces of long values, and the revision they are true at.
const RECORD: u8 = b'o';
const PIECES: u8 = b'p';
const META: &[u8] = b"m";
/// The revision a checkpoint under way leads to.
const WRITING: &[u8] = b"w";

/// sled, holding records and the revision they are true at.
pub(super) struct Tree {
    db: sled::Db,
    folder: PathBuf,
}

impl Tree {
    /// Opens or makes the tree in `folder`. `cache` is in bytes.
    pub(super) fn open(folder: &Path, cache: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(folder)
            // 16 MiB instead of the default 512 KiB keeps values of a megabyte inside segments; fixed for the life of the store.
            .segment_size(16 << 20)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(cache)
            // The flusher thread also collects garbage; without it files only grow.
            .flush_every_ms(Some(200));
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| damaged(folder, "sled panicked opening it"))?
            .map_err(|error| damaged(folder, &error.to_string()))?;
        let tree = Self {
            db: opened,
            folder: folder.to_owned(),
        };
        // sled leaves its configuration and directory entries unsynced.
        tree.sync_files()?;
        Ok(tree)
    }

    /// The revision the tree is true at; `None` for a new tree.
    pub(super) fn revision(&self) -> Result<Option<Revision>, StoreError> {
        self.number(META)
    }

    /// The revision that the last checkpoint, whole or cut short by a crash, leads to.
    pub(super) fn written_to(&self) -> Result<Revision, StoreError> {
        Ok(self.number(WRITING)?.unwrap_or_default())
    }

    fn number(&self, key: &[u8]) -> Result<Option<Revision>, StoreError> {
        let Some(stored) = self
            .db
            .get(key)
            .map_err(|error| damaged(&self.folder, &error.to_string()))?
        else {
            return Ok(None);
        };
        let cut = || damaged(&self.folder, "the revision is cut");
        let (revision, checksum) = stored.split_at_checked(8).ok_or_else(cut)?;
        if crc32fast::hash(revision).to_le_bytes() != checksum {
            return Err(damaged(&self.folder, "the revision is damaged"));
        }
        Ok(Some(Revision(
            revision
                .try_into()
                .map(u64::from_le_bytes)
                .map_err(|_| cut())?,
        )))
    }

    fn set_number(&self, key: &[u8], revision: Revision) -> Result<(), StoreError> {
        let mut stored = revision.0.to_le_bytes().to_vec();
        stored.extend_from_slice(&crc32fast::hash(&stored).to_le_bytes());
        let mut batch = sled::Batch::default();
        batch.insert(key, stored);
        self.apply(batch)
    }

    /// All records.
    pub(super) fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for entry in self.db.scan_prefix([RECORD]) {
            let (key, stored) = entry.map_err(|error| damaged(&self.folder, &error.to_string()))?;
            records.push(self.record(&key, &stored)?);
        }
        Ok(records)
    }

    fn record(&self, stored_key: &[u8], stored: &[u8]) -> Result<Record, StoreError> {
        let name = String::from_utf8_lossy(stored_key.get(1..).unwrap_or_default()).into_owned();
        let bad = || damaged(&self.folder, &format!("record {name} is damaged"));
        let (head, first) = stored.split_at_checked(28).ok_or_else(bad)?;
        let number = |range: std::ops::Range<usize>| {
            head.get(range)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u64::from_le_bytes)
                .ok_or_else(bad)
        };
        let (created, modified, length) = (number(0..8)?, number(8..16)?, number(16..24)?);
        let length = usize::try_from(length).map_err(|_| bad())?;
        let mut value = first.to_vec();
        let mut index = 0;
        while value.len() < length {
            let piece = self
                .db
                .get(piece_key(&name, index))
                .map_err(|error| damaged(&self.folder, &error.to_string()))?;
            value.extend_from_slice(&piece.ok_or_else(bad)?);
            index += 1;
        }
        let expected = head.get(24..28).ok_or_else(bad)?;
        if value.len() != length
            || checksum(&name, created, modified, &value).to_le_bytes() != expected
        {
            return Err(bad());
        }
        Ok(Record {
            key: Arc::from(name),
            value: Bytes::from(value),
            created: Revision(created),
            modified: Revision(modified),
        })
    }

    /// Writes `puts`, then the revision they lead to. Not durable yet. The revision comes last, so that a crash between leaves a tree whose
    /// revision is older than some of its records, which replaying the log mends.
    pub(super) fn write<'a>(
        &self,
        puts: impl Iterator<Item = &'a Put>,
        revision: Revision,
    ) -> Result<(), StoreError> {
        self.set_number(WRITING, revision)?;
        let mut batch = sled::Batch::default();
        let mut size = 0;
        for put in puts {
            size += self.stage(put, &mut batch)?;
            if size >= BATCH {
                self.apply(std::mem::take(&mut batch))?;
                size = 0;
            }
        }
        self.apply(batch)?;
        self.set_number(META, revision)
    }

    /// Adds one key's change to a batch and says of how many operations it consists.
    fn stage(&self, put: &Put, batch: &mut sled::Batch) -> Result<usize, StoreError> {
        let key = [&[RECORD], put.key.as_bytes()].concat();
        let mut operations = 1;
        let mut pieces = 0;
        match &put.record {
            None => batch.remove(key),
            Some(record) => {
                let (first, rest) = record.value.split_at(record.value.len().min(PIECE));
                let mut stored = Vec::with_capacity(28 + first.len());
                stored.extend_from_slice(&record.created.0.to_le_bytes());
                stored.extend_from_slice(&record.modified.0.to_le_bytes());
                stored.extend_from_slice(&(record.value.len() as u64).to_le_bytes());
                let sum = checksum(&put.key, record.created.0, record.modified.0, &record.value);
                stored.extend_from_slice(&sum.to_le_bytes());
                stored.extend_from_slice(first);
                batch.insert(key, stored);
                for piece in rest.chunks(PIECE) {
                    batch.insert(piece_key(&put.key, pieces), piece);
                    pieces += 1;
                }
            }
        }
        // What a longer former value left behind.
        while self
            .db
            .contains_key(piece_key(&put.key, pieces))
            .map_err(|error| unavailable(&error.to_string()))?
        {
            batch.remove(piece_key(&put.key, pieces));
            pieces += 1;
        }
        operations += usize::try_from(pieces).unwrap_or(usize::MAX);
        Ok(operations)
    }

    fn apply(&self, batch: sled::Batch) -> Result<(), StoreError> {
        self.db
            .apply_batch(batch)
            .map_err(|error| unavailable(&error.to_string()))
    }

    /// Makes everything written durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db
            .flush()
            .map_err(|error| unavailable(&error.to_string()))?;
        self.sync_files()
    }

    fn sync_files(&self) -> Result<(), StoreError> {
        let synced = File::open(&self.folder).and_then(|folder| {
            folder.sync_all()?;
            rustix::fs::syncfs(&folder).map_err(std::io::Error::from)
        });
        synced.map_err(|error| unavailable(&format!("sync {}: {error}", self.folder.display())))
    }
}

fn piece_key(key: &str, index: u32) -> Vec<u8> {
    [&[PIECES], key.as_bytes(), &[0], &index.to_be_bytes()].concat()
}

fn checksum(key: &str, created: u64, modified: u64, value: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(key.as_bytes());
    checksum.update(&created.to_le_bytes());
    checksum.update(&modified.to_le_bytes());
    checksum.update(value);
    checksum.finalize()
}

fn damaged(folder: &Path, what: &str) -> StoreError {
    StoreError::Corrupt {
        reason: format!("{}: {what}", folder.display()),
    }
}

fn unavailable(what: &str) -> StoreError {
    StoreError::Unavailable {
        reason: what.to_owned(),
    }
}
