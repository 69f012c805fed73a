//! The state at the last checkpoint, in sled. Never the only copy of anything until [`Tree::sync`] has returned, because sled 0.34 calls its
//! `flush` durable when it is not (it writes with sync_file_range and never syncs its small files).

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    entry::Put,
    layout::{Reader, put_u64},
};
use crate::{error::StoreError, record::Record, revision::Revision};

/// Values longer than this are cut into pieces: sled keeps 16 entries in a leaf, and turns a leaf over a quarter of its segment into a file of
/// its own, which it neither syncs nor removes reliably.
const PIECE: usize = 128 << 10;
/// Larger batches pin garbage in sled's epochs until memory is gone.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 2 << 20;
/// Key prefixes: records, further pieces of long values, and what the tree says about itself.
const RECORD: u8 = b'o';
const PIECES: u8 = b'p';
const META: &[u8] = b"m";
/// sled gives its lock up on a thread of its own, some time after it was closed: one that is still held is waited for so long. The store's folder has a
/// lock of ours, so that it is no other process that holds it.
const RELEASE: Duration = Duration::from_secs(5);
/// What precedes a record's value: created, modified, length, checksum.
const RECORD_HEAD: usize = 28;

/// What the tree says about itself, changed together with every batch of records. sled takes damage for the end of its log; a tree that lost
/// records that way, or fell back to an older state, does not add up to this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Meta {
    /// The records are true at this revision.
    revision: Revision,
    /// The revision that the last checkpoint, whole or cut short by a crash, leads to.
    written_to: Revision,
    records: u64,
    /// Over all records, in any order.
    sum: u64,
}

impl Meta {
    fn encode(self) -> Vec<u8> {
        let mut stored = Vec::with_capacity(36);
        put_u64(&mut stored, self.revision.0);
        put_u64(&mut stored, self.written_to.0);
        put_u64(&mut stored, self.records);
        put_u64(&mut stored, self.sum);
        stored.extend_from_slice(&crc32fast::hash(&stored).to_le_bytes());
        stored
    }

    fn decode(stored: &[u8]) -> Option<Self> {
        let (stated, checksum) = stored.split_at_checked(32)?;
        if crc32fast::hash(stated).to_le_bytes() != checksum {
            return None;
        }
        let mut reader = Reader(stated);
        Some(Self {
            revision: Revision(reader.u64()?),
            written_to: Revision(reader.u64()?),
            records: reader.u64()?,
            sum: reader.u64()?,
        })
    }

    fn add(&mut self, checksum: u32) {
        self.records = self.records.wrapping_add(1);
        self.sum = self.sum.wrapping_add(spread(checksum));
    }

    fn remove(&mut self, checksum: u32) {
        self.records = self.records.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(spread(checksum));
    }
}

/// Spreads a checksum over 64 bits, so that sums of several seldom meet; never zero.
fn spread(checksum: u32) -> u64 {
    (u64::from(checksum) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// sled, holding records and the revision they are true at.
pub(super) struct Tree {
    db: sled::Db,
    folder: PathBuf,
}

impl Tree {
    /// Opens or makes the tree in `folder`. `cache` is in bytes.
    pub(super) fn open(folder: &Path, cache: u64) -> Result<Self, StoreError> {
        remove_half_snapshots(folder)
            .map_err(|error| unavailable(&format!("open {}: {error}", folder.display())))?;
        let config = sled::Config::new()
            .path(folder)
            // 16 MiB instead of the default 512 KiB keeps values of a megabyte inside segments; fixed for the life of the store.
            .segment_size(16 << 20)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(cache)
            // The flusher thread also collects garbage; without it files only grow.
            .flush_every_ms(Some(200));
        let patience = Instant::now() + RELEASE;
        let opened = loop {
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .map_err(|_| damaged(folder, "sled panicked opening it"))?;
            match opened {
                Err(error) if is_locked(&error) && Instant::now() < patience => {
                    thread::sleep(RELEASE / 100);
                }
                opened => break opened,
            }
        };
        let opened = opened.map_err(|error| match error {
            sled::Error::Io(io) if is_trouble(&io) => {
                unavailable(&format!("open {}: {io}", folder.display()))
            }
            error if is_locked(&error) => {
                unavailable(&format!("open {}: {error}", folder.display()))
            }
            error => damaged(folder, &error.to_string()),
        })?;
        let tree = Self {
            db: opened,
            folder: folder.to_owned(),
        };
        // sled leaves its configuration, its blobs and their names unsynced.
        tree.sync_files()?;
        Ok(tree)
    }

    /// Makes a new tree one that is true at revision 0.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.insert(META, Meta::default().encode());
        self.apply(batch)?;
        self.sync()
    }

    /// The revision the tree is true at; `None` for a new tree.
    pub(super) fn revision(&self) -> Result<Option<Revision>, StoreError> {
        Ok(self.meta()?.map(|meta| meta.revision))
    }

    /// The revision that the last checkpoint, whole or cut short by a crash, leads to.
    pub(super) fn written_to(&self) -> Result<Revision, StoreError> {
        Ok(self.meta()?.unwrap_or_default().written_to)
    }

    fn meta(&self) -> Result<Option<Meta>, StoreError> {
        match self.read(META)? {
            None => Ok(None),
            Some(stored) => Meta::decode(&stored)
                .map(Some)
                .ok_or_else(|| damaged(&self.folder, "what it says of itself is damaged")),
        }
    }

    fn read(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.db
            .get(key)
            .map_err(|error| self.failed("read", &error))
    }

    /// What an error of sled means: damage where it says so, trouble with the disk otherwise.
    fn failed(&self, what: &str, error: &sled::Error) -> StoreError {
        let said = format!("{what} {}: {error}", self.folder.display());
        match error {
            sled::Error::Corruption { .. } | sled::Error::CollectionNotFound(_) => {
                StoreError::Corrupt { reason: said }
            }
            sled::Error::Io(_) | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_) => {
                unavailable(&said)
            }
        }
    }

    /// All records, which must be those that were written.
    pub(super) fn records(&self) -> Result<Vec<Record>, StoreError> {
        catch_unwind(AssertUnwindSafe(|| self.scan()))
            .unwrap_or_else(|_| Err(damaged(&self.folder, "sled panicked reading it")))
    }

    fn scan(&self) -> Result<Vec<Record>, StoreError> {
        let stated = self.meta()?.unwrap_or_default();
        let mut found = Meta {
            records: 0,
            sum: 0,
            ..stated
        };
        let mut records = Vec::new();
        for entry in self.db.scan_prefix([RECORD]) {
            let (key, stored) = entry.map_err(|error| self.failed("read", &error))?;
            let (record, checksum) = self.record(&key, &stored)?;
            found.add(checksum);
            records.push(record);
        }
        if found != stated {
            return Err(damaged(
                &self.folder,
                &format!(
                    "{} records are there, {} were written, or others",
                    found.records, stated.records
                ),
            ));
        }
        Ok(records)
    }

    fn record(&self, stored_key: &[u8], stored: &[u8]) -> Result<(Record, u32), StoreError> {
        let name = String::from_utf8_lossy(stored_key.get(1..).unwrap_or_default()).into_owned();
        let bad = || damaged(&self.folder, &format!("record {name} is damaged"));
        let (head, first) = stored.split_at_checked(RECORD_HEAD).ok_or_else(bad)?;
        let mut head = Reader(head);
        let mut number = || head.u64().ok_or_else(bad);
        let (created, modified, length) = (number()?, number()?, number()?);
        let length = usize::try_from(length).map_err(|_| bad())?;
        let mut value = first.to_vec();
        let mut index = 0;
        while value.len() < length {
            let piece = self.read(&piece_key(&name, index))?;
            value.extend_from_slice(&piece.ok_or_else(bad)?);
            index += 1;
        }
        let stated = stored_checksum(stored).ok_or_else(bad)?;
        if value.len() != length || checksum(&name, created, modified, &value) != stated {
            return Err(bad());
        }
        let record = Record {
            key: Arc::from(name),
            value: Bytes::from(value),
            created: Revision(created),
            modified: Revision(modified),
        };
        Ok((record, stated))
    }

    /// Writes `puts`, then the revision they lead to; says how many bytes that was. Not durable yet. The revision comes last, so that a crash
    /// between leaves a tree whose revision is older than some of its records, which replaying the log mends.
    pub(super) fn write<'a>(
        &self,
        puts: impl Iterator<Item = &'a Put>,
        revision: Revision,
    ) -> Result<u64, StoreError> {
        let mut meta = self.meta()?.unwrap_or_default();
        meta.written_to = revision;
        let mut batch = Staged::default();
        let mut bytes = 0;
        for put in puts {
            self.stage(put, &mut batch, &mut meta)?;
            if batch.operations >= BATCH || batch.bytes >= BATCH_BYTES {
                bytes += batch.bytes as u64;
                self.apply(std::mem::take(&mut batch).sealed(meta))?;
            }
        }
        meta.revision = revision;
        bytes += batch.bytes as u64;
        self.apply(batch.sealed(meta))?;
        Ok(bytes)
    }

    /// Adds one key's change to a batch.
    fn stage(&self, put: &Put, batch: &mut Staged, meta: &mut Meta) -> Result<(), StoreError> {
        let key = [&[RECORD], put.key.as_bytes()].concat();
        if let Some(old) = self.read(&key)? {
            let bad = || damaged(&self.folder, &format!("record {} is damaged", put.key));
            meta.remove(stored_checksum(&old).ok_or_else(bad)?);
        }
        let mut pieces = 0;
        match &put.record {
            None => batch.remove(key),
            Some(record) => {
                let (first, rest) = record.value.split_at(record.value.len().min(PIECE));
                let mut stored = Vec::with_capacity(RECORD_HEAD + first.len());
                put_u64(&mut stored, record.created.0);
                put_u64(&mut stored, record.modified.0);
                put_u64(&mut stored, record.value.len() as u64);
                let sum = checksum(&put.key, record.created.0, record.modified.0, &record.value);
                meta.add(sum);
                stored.extend_from_slice(&sum.to_le_bytes());
                stored.extend_from_slice(first);
                batch.insert(key, stored);
                for piece in rest.chunks(PIECE) {
                    batch.insert(piece_key(&put.key, pieces), piece.to_vec());
                    pieces += 1;
                }
            }
        }
        // What a longer former value left behind.
        while self.read(&piece_key(&put.key, pieces))?.is_some() {
            batch.remove(piece_key(&put.key, pieces));
            pieces += 1;
        }
        Ok(())
    }

    fn apply(&self, batch: sled::Batch) -> Result<(), StoreError> {
        self.db
            .apply_batch(batch)
            .map_err(|error| self.failed("write", &error))
    }

    /// Makes everything written durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db
            .flush()
            .map_err(|error| self.failed("flush", &error))?;
        self.sync_files()
    }

    fn sync_files(&self) -> Result<(), StoreError> {
        sync_all(&self.folder)
            .map_err(|error| unavailable(&format!("sync {}: {error}", self.folder.display())))
    }
}

/// Removes snapshots that a crash left half-written. sled would take one for the newest and refuse to open for it (its issue 1527), while the one
/// before, which it removes only after the new one has its name, is still there.
fn remove_half_snapshots(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Makes every file of a folder durable, then their names. Not syncfs, which would wait for everything else on the file system as well.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let synced = match entry.file_type()? {
            kind if kind.is_dir() => sync_all(&entry.path()),
            _ => File::open(entry.path()).and_then(|file| file.sync_all()),
        };
        match synced {
            // sled replaces its snapshots in threads of its own, and syncs what it puts in their place.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced?,
        }
    }
    File::open(folder)?.sync_all()
}

/// A batch being put together.
#[derive(Default)]
struct Staged {
    batch: sled::Batch,
    operations: usize,
    bytes: usize,
}

impl Staged {
    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.operations += 1;
        self.bytes += key.len() + value.len();
        self.batch.insert(key, value);
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.operations += 1;
        self.bytes += key.len();
        self.batch.remove(key);
    }

    /// The batch with what the tree says of itself once it is applied.
    fn sealed(mut self, meta: Meta) -> sled::Batch {
        self.batch.insert(META, meta.encode());
        self.batch
    }
}

/// The checksum that a stored record carries.
fn stored_checksum(stored: &[u8]) -> Option<u32> {
    let bytes = stored.get(RECORD_HEAD - 4..RECORD_HEAD)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
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

/// Whether an error is about the system and not about what is in the files.
fn is_trouble(error: &io::Error) -> bool {
    error.raw_os_error().is_some() || error.kind() == io::ErrorKind::WouldBlock
}

/// Whether sled could not have its lock. It says so in words only.
fn is_locked(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
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
