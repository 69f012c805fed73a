//! The store on one machine's disk. A small log of our own is the point of acknowledgement and the history over restarts; sled holds the state
//! at the last checkpoint; reads come from memory. Why not sled alone: its flush is not a sync, it takes damage for the end of its log, and a
//! transaction through it costs more than an append (docs/adr/0002).
//!
//! One writer thread changes things, one checkpoint thread folds finished log segments into sled. Neither blocks an async task.

mod checkpoint;
mod frame;
mod recovery;
mod segment;
mod tree;
mod volatile;
mod writer;

use std::{
    fs::{self, File},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use self::{
    tree::Tree,
    writer::{Request, Writer},
};
use crate::{
    error::StoreError,
    history::HistoryLimits,
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
    /// A log segment is finished at this many bytes. Small ones are checkpointed often, large ones take longer to replay.
    pub segment_bytes: u64,
    /// sled's cache in bytes. It is only read at open, so small does not hurt.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            history: HistoryLimits::default(),
            segment_bytes: 32 << 20,
            cache_bytes: 8 << 20,
        }
    }
}

/// How many requests may wait for the writer. Callers beyond it wait for room, which is back-pressure.
const QUEUE: usize = 4096;
/// How many finished segments may wait for the checkpoint before the writer waits.
const FINISHED: usize = 4;

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
    /// Bytes appended to the log since open.
    written: AtomicU64,
}

impl SledStorage {
    /// Opens the store in `folder`, making it when there is none. Blocks; takes about a second per million objects.
    ///
    /// # Errors
    /// `Corrupt` when what is on disk cannot be the whole of what was acknowledged: restore a backup. `Unavailable` when another process has
    /// the store open, and for I/O errors.
    pub fn open(folder: &Path, options: &SledOptions) -> Result<Self, StoreError> {
        let io = |error: std::io::Error| StoreError::Unavailable {
            reason: format!("open {}: {error}", folder.display()),
        };
        let log = folder.join("log");
        fs::create_dir_all(&log).map_err(io)?;
        segment::sync_folder(folder).map_err(io)?;
        let lock = File::create(folder.join("lock")).map_err(io)?;
        lock.try_lock().map_err(|_| StoreError::Unavailable {
            reason: format!("{} is in use by another process", folder.display()),
        })?;
        recovery::tidy(&log).map_err(io)?;
        let tree = Tree::open(&folder.join("sled"), options.cache_bytes)?;
        segment::sync_folder(folder).map_err(io)?;
        let recovered = recovery::recover(&log, &tree, options.history)?;
        let reserved = recovered.state.revision();
        let shared = Arc::new(Shared {
            state: RwLock::new(recovered.state),
            signals: Signals::default(),
            written: AtomicU64::new(0),
        });
        let (finished, to_fold) =
            std::sync::mpsc::sync_channel(FINISHED.max(recovered.closed.len()));
        for path in recovered.closed {
            if finished.send(path).is_err() {
                return Err(StoreError::Unavailable {
                    reason: "the checkpoint thread did not start".to_owned(),
                });
            }
        }
        let (requests, incoming) = mpsc::channel(QUEUE);
        let writer = Writer {
            shared: Arc::clone(&shared),
            segment: recovered.segment,
            folder: log.clone(),
            segment_limit: options.segment_bytes,
            finished,
            logged: recovered.logged,
            reserved,
            volatile: recovered.volatile,
            unlogged: recovered.unlogged,
            failed: None,
        };
        let threads = vec![
            thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || writer.run(incoming))
                .map_err(io)?,
            thread::Builder::new()
                .name("store-checkpoint".to_owned())
                .spawn(move || checkpoint::run(&tree, &log, &to_fold))
                .map_err(io)?,
        ];
        Ok(Self {
            shared,
            requests,
            threads: Mutex::new(threads),
            _lock: lock,
        })
    }

    /// Bytes appended to the log since the store was opened: what acknowledging has cost the disk.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
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
        Box::pin(async move { self.shared.state.read().list(&list) })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        after: Revision,
    ) -> BoxFuture<'a, Result<Watch, StoreError>> {
        Box::pin(async move {
            let signal = self.shared.signals.subscribe(prefix);
            self.shared.state.read().check_watch(after)?;
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
}
