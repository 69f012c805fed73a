//! The store on one machine's disk. A small log of our own is the point of acknowledgement and the history over restarts; sled holds the state
//! at the last checkpoint; reads come from memory. Why not sled alone: its flush is not a sync, it takes damage for the end of its log, and a
//! transaction through it costs more than an append (docs/adr/0002).
//!
//! One writer thread changes things, one checkpoint thread folds finished log segments into sled. Neither blocks an async task.

mod backlog;
mod checkpoint;
pub(crate) mod entry;
mod format;
mod frame;
pub(crate) mod layout;
mod listing;
pub mod offline;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;
mod tree;
mod volatile;
mod writer;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use self::{
    backlog::Backlog,
    checkpoint::Checkpoint,
    entry::{Entry, Promises},
    format::Found,
    segment::Segment,
    tree::Tree,
    writer::{Request, Writer},
};
use crate::{
    error::StoreError,
    history::HistoryLimits,
    metrics::StoreMetrics,
    record::Record,
    revision::Revision,
    signal::Signals,
    state::State,
    storage::{BoxFuture, List, Page, Storage},
    txn::Op,
    watch::{Event, Source, Watch},
};

/// How an embedded store is run.
#[derive(Clone, Debug)]
pub struct SledOptions {
    /// How much history is kept in memory.
    pub history: HistoryLimits,
    /// A log segment has room for this many bytes. The log is kept as long as history reaches back, so this is only how finely it is cut.
    pub segment_bytes: u64,
    /// sled's cache in bytes. It is only read at open, so small does not hurt.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            history: HistoryLimits::default(),
            segment_bytes: 8 << 20,
            cache_bytes: 8 << 20,
        }
    }
}

/// How many requests may wait for the writer. Callers beyond it wait for room, which is back-pressure.
const QUEUE: usize = 4096;

/// The embedded store. Dropping it closes it in order.
pub struct SledStorage {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    /// Held as long as the store is open: two processes on one folder would destroy it.
    _lock: File,
}

/// What readers, watches and the writer share.
struct Shared {
    state: RwLock<State>,
    signals: Signals,
    metrics: StoreMetrics,
}

impl SledStorage {
    /// Opens the store in `folder`, making it when there is none. Blocks; takes about a second per million objects.
    ///
    /// # Errors
    /// `Corrupt` when what is on disk cannot be the whole of what was acknowledged: restore a backup. `Unsupported` when another version wrote
    /// it. `Unavailable` when another process has the store open, and for I/O errors.
    pub fn open(folder: &Path, options: &SledOptions) -> Result<Self, StoreError> {
        let io = |error: io::Error| StoreError::Unavailable {
            reason: format!("open {}: {error}", folder.display()),
        };
        let (log, sled) = (folder.join("log"), folder.join("sled"));
        fs::create_dir_all(folder).map_err(io)?;
        let lock = lock(folder)?;
        let tree = match format::look(folder)? {
            Found::Store => {
                volatile::tidy(&log).map_err(io)?;
                Tree::open(&sled, options.cache_bytes)?
            }
            Found::Nothing => make(folder, &log, &sled, options).map_err(|error| match error {
                MakeError::Io(error) => io(error),
                MakeError::Store(error) => error,
            })?,
        };
        segment::sync_folder(folder).map_err(io)?;
        let recovered = recovery::recover(&log, &tree, options.history)?;
        let (path, contents) = &recovered.newest;
        let mut segment = Segment::resume(path, contents).map_err(io)?;
        if let Some(up_to) = recovered.lost {
            let mut payload = Vec::new();
            Entry::Lost { up_to }.encode(&mut payload);
            segment
                .append(&payload)
                .map_err(|error| io(io::Error::other(error)))?;
        }
        let shared = Arc::new(Shared {
            state: RwLock::new(recovered.state),
            signals: Signals::default(),
            metrics: StoreMetrics::default(),
        });
        let backlog = Arc::new(Backlog::default());
        let (requests, incoming) = mpsc::channel(QUEUE);
        let writer = Writer {
            shared: Arc::clone(&shared),
            segment,
            folder: log.clone(),
            segment_bytes: options.segment_bytes,
            full: recovered.full,
            backlog: Arc::clone(&backlog),
            logged: recovered.logged,
            reserved: Revision(0),
            prefixes: recovered.prefixes,
            volatile: recovered.volatile,
            unlogged: recovered.unlogged,
            covered: recovered.covered,
            failed: None,
        };
        let checkpoint = Checkpoint {
            tree: Some(tree),
            tree_folder: sled,
            cache_bytes: options.cache_bytes,
            folder: log,
            backlog,
            metrics: shared.metrics.clone(),
        };
        let threads = vec![
            thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || writer.run(incoming))
                .map_err(io)?,
            thread::Builder::new()
                .name("store-checkpoint".to_owned())
                .spawn(move || checkpoint.run())
                .map_err(io)?,
        ];
        Ok(Self {
            shared,
            requests,
            threads: Mutex::new(threads),
            _lock: lock,
        })
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable {
            reason: "the store is closed".to_owned(),
        };
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(request(answer))
            .await
            .map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

/// Takes the folder for this process alone.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let unavailable = |reason: String| StoreError::Unavailable { reason };
    let file = File::create(&path)
        .map_err(|error| unavailable(format!("open {}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(unavailable(format!(
            "{} is in use by another process",
            folder.display()
        ))),
        Err(fs::TryLockError::Error(error)) => {
            Err(unavailable(format!("lock {}: {error}", path.display())))
        }
    }
}

/// Why a store could not be made.
enum MakeError {
    Io(io::Error),
    Store(StoreError),
}

impl From<io::Error> for MakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StoreError> for MakeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Makes an empty store. The format file comes last: cut short, nothing of it counts, and the next open begins anew.
fn make(
    folder: &Path,
    log: &PathBuf,
    sled: &PathBuf,
    options: &SledOptions,
) -> Result<Tree, MakeError> {
    for part in [log, sled] {
        match fs::remove_dir_all(part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    if let Some(parent) = folder.parent().filter(|parent| *parent != Path::new("")) {
        segment::sync_folder(parent)?;
    }
    fs::create_dir(log)?;
    let tree = Tree::open(sled, options.cache_bytes)?;
    tree.begin()?;
    Segment::create(
        log,
        Revision(0),
        &Promises::default(),
        options.segment_bytes,
    )?;
    segment::sync_folder(folder)?;
    format::write(folder)?;
    Ok(tree)
}

/// A folder for a test, in memory where there is such a place: these tests are not about disks.
#[cfg(test)]
pub(crate) fn test_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

impl Drop for SledStorage {
    fn drop(&mut self) {
        // The queue may be full, and blocking_send must not be used inside a runtime: a thread without one hands the request over.
        let requests = self.requests.clone();
        let told = thread::spawn(move || requests.blocking_send(Request::Close).is_ok()).join();
        if !matches!(told, Ok(true)) {
            tracing::error!("the store's writer was gone before it was told to close");
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Source for Shared {
    fn events_after(
        &self,
        prefix: &str,
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Event>, Revision), StoreError> {
        self.state.read().events_after(prefix, after, limit)
    }
}

impl Storage for SledStorage {
    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(self.ask(move |answer| Request::Commit { ops, answer }))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Arc<Record>>, StoreError>> {
        Box::pin(async move { Ok(self.shared.state.read().get(key).cloned()) })
    }

    fn list(&self, list: List) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move { listing::list(&self.shared, &list, listing::PIECE).await })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        after: Revision,
    ) -> BoxFuture<'a, Result<Watch, StoreError>> {
        Box::pin(async move {
            let signal = self.shared.signals.subscribe(prefix);
            self.shared.state.read().check_watch(prefix, after)?;
            Ok(Watch::new(
                Arc::clone(&self.shared) as Arc<dyn Source>,
                signal,
                prefix.to_owned(),
                after,
            ))
        })
    }

    fn revision(&self) -> Revision {
        self.shared.state.read().revision()
    }

    fn compact(&self, to: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(move |answer| Request::Compact { to, answer }))
    }

    fn metrics(&self) -> Option<&StoreMetrics> {
        Some(&self.shared.metrics)
    }
}
