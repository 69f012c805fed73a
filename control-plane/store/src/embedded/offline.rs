//! What is done to a store that nobody runs: check it, make one from a backup, make its files small.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::RenameFlags;

use super::{
    SledOptions, entry::Promises, entry::Put, format, lock, recovery, segment, segment::Segment,
    tree::Tree, volatile,
};
use crate::{
    backup::{BackupError, BackupReader},
    error::StoreError,
    record::Record,
    revision::Revision,
};

/// How far a restored store's revision is ahead of the backup's. More than can have been given out since the backup was made, so that no
/// revision anybody has seen comes again for something else: watches from before are told to list afresh.
pub const AHEAD: u64 = 1_000_000_000;

/// Why there is no store made from a backup.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something already.
    #[error("{} is not empty: restore into another folder, or move this one away first", .0.display())]
    NotEmpty(PathBuf),
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The new store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// The store's revision.
    pub revision: Revision,
    /// The oldest revision that watches can resume from.
    pub oldest: Revision,
    /// How many records there are.
    pub records: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
    /// How many files the log has.
    pub segments: usize,
}

/// Reads all of a store and checks it against itself. Changes nothing that matters; the store must not be in use.
///
/// # Errors
/// `Corrupt`, `Unsupported`, `Unavailable`: why it would not open.
pub fn check(folder: &Path, options: &SledOptions) -> Result<Holdings, StoreError> {
    let _lock = existing(folder)?;
    let log = folder.join("log");
    let tree = Tree::open(&folder.join("sled"), options.cache_bytes)?;
    let recovered = recovery::recover(&log, &tree, options.history)?;
    let state = &recovered.state;
    Ok(Holdings {
        revision: state.revision(),
        oldest: state.floor(),
        records: state.records().count() as u64,
        bytes: state
            .records()
            .map(|record| (record.key.len() + record.value.len()) as u64)
            .sum(),
        segments: recovered.full.len() + 1,
    })
}

/// Makes a store from a backup, in a folder that is empty or not there; says what it holds.
///
/// # Errors
/// See [`RestoreError`]. A folder in which it failed half-way holds no store.
pub fn restore(
    folder: &Path,
    backup: impl Read,
    options: &SledOptions,
) -> Result<Holdings, RestoreError> {
    let filled = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if filled {
        return Err(RestoreError::NotEmpty(folder.to_owned()));
    }
    let mut backup = BackupReader::new(backup)?;
    let revision = Revision(backup.revision().0.saturating_add(AHEAD));
    let mut holdings = Holdings {
        revision,
        oldest: revision,
        records: 0,
        bytes: 0,
        segments: 1,
    };
    let making = Making::begin(folder, options)?;
    while let Some(records) = backup.more()? {
        for record in &records {
            holdings.records += 1;
            holdings.bytes += (record.key.len() + record.value.len()) as u64;
        }
        making.add(records)?;
    }
    making.end(revision, &Promises::default(), options)?;
    Ok(holdings)
}

/// Writes a store anew with nothing in it but what it holds, beside it, and puts it in its place: sled's files only ever grow. Gives the bytes on
/// disk before and after. History is forgotten; the store must not be in use.
///
/// # Errors
/// As [`check`]; the store is then as it was.
pub fn compact(folder: &Path, options: &SledOptions) -> Result<(u64, u64), StoreError> {
    let lock = existing(folder)?;
    let trouble = |error: std::io::Error| StoreError::Unavailable {
        reason: format!("compact {}: {error}", folder.display()),
    };
    let log = folder.join("log");
    volatile::tidy(&log).map_err(trouble)?;
    let before = size(folder).map_err(trouble)?;
    let tree = Tree::open(&folder.join("sled"), options.cache_bytes)?;
    let recovered = recovery::recover(&log, &tree, options.history)?;
    drop(tree);
    let aside = beside(folder, "compacted");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(trouble)?;
    }
    let making = Making::begin(&aside, options)?;
    let records: Vec<&Arc<Record>> = recovered.state.records().collect();
    for some in records.chunks(1024) {
        making.add(some.iter().map(|record| Record::clone(record)))?;
    }
    // Volatile content becomes durable on the way, which is more than it asked for.
    let promises = Promises {
        volatile: recovered.prefixes.into_iter().collect(),
        ..Promises::default()
    };
    making.end(recovered.state.revision(), &promises, options)?;
    let after = size(&aside).map_err(trouble)?;
    // In one step, so that there is a store under the name at any time.
    let here = rustix::fs::CWD;
    rustix::fs::renameat_with(here, &aside, here, folder, RenameFlags::EXCHANGE)
        .map_err(|error| trouble(error.into()))?;
    if let Some(parent) = folder.parent().filter(|parent| *parent != Path::new("")) {
        segment::sync_folder(parent).map_err(trouble)?;
    }
    drop(lock);
    fs::remove_dir_all(&aside).map_err(trouble)?;
    Ok((before, after))
}

/// The lock of a store that is there.
fn existing(folder: &Path) -> Result<fs::File, StoreError> {
    if !folder.join("log").exists() && !folder.join("format").exists() {
        return Err(StoreError::Unavailable {
            reason: format!("there is no store in {}", folder.display()),
        });
    }
    let lock = lock(folder)?;
    match format::look(folder)? {
        format::Found::Store => Ok(lock),
        format::Found::Nothing => Err(StoreError::Unavailable {
            reason: format!("the store in {} was never finished", folder.display()),
        }),
    }
}

fn beside(folder: &Path, what: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    folder.with_file_name(name)
}

/// Bytes on disk, holes not counted.
fn size(folder: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() {
            size(&entry.path())?
        } else {
            about.blocks() * 512
        };
    }
    Ok(bytes)
}

/// A store being made from records.
struct Making {
    folder: PathBuf,
    tree: Tree,
    _lock: fs::File,
}

impl Making {
    fn begin(folder: &Path, options: &SledOptions) -> Result<Self, StoreError> {
        let trouble = |error: std::io::Error| StoreError::Unavailable {
            reason: format!("make a store in {}: {error}", folder.display()),
        };
        fs::create_dir_all(folder).map_err(trouble)?;
        let lock = lock(folder)?;
        fs::create_dir(folder.join("log")).map_err(trouble)?;
        let tree = Tree::open(&folder.join("sled"), options.cache_bytes)?;
        tree.begin()?;
        Ok(Self {
            folder: folder.to_owned(),
            tree,
            _lock: lock,
        })
    }

    fn add(&self, records: impl IntoIterator<Item = Record>) -> Result<(), StoreError> {
        let puts: Vec<Put> = records
            .into_iter()
            .map(|record| Put {
                key: Arc::clone(&record.key),
                record: Some(Arc::new(record)),
            })
            .collect();
        self.tree.write(puts.iter(), Revision(0)).map(drop)
    }

    fn end(
        self,
        revision: Revision,
        promises: &Promises,
        options: &SledOptions,
    ) -> Result<(), StoreError> {
        let trouble = |error: std::io::Error| StoreError::Unavailable {
            reason: format!("make a store in {}: {error}", self.folder.display()),
        };
        self.tree.write(std::iter::empty(), revision)?;
        self.tree.sync()?;
        let log = self.folder.join("log");
        Segment::create(&log, revision, promises, options.segment_bytes).map_err(trouble)?;
        segment::sync_folder(&self.folder).map_err(trouble)?;
        // Last: only now it is a store.
        format::write(&self.folder).map_err(trouble)?;
        let parent = self
            .folder
            .parent()
            .filter(|parent| *parent != Path::new(""));
        parent.map_or(Ok(()), |parent| {
            segment::sync_folder(parent).map_err(trouble)
        })
    }
}
