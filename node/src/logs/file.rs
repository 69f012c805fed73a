//! One log file while its container runs: takes what is written, holds it until the writer comes, keeps it within its size and rate.

use std::{
    fs, io,
    io::Write,
    mem,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use coracle_runtime::LogSink;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    line::{Lines, Stream},
    rotated,
    writer::Queue,
};

/// Bytes held for the writer; a container that has this much waiting waits itself. Half would make a burst wait for the disk, double costs memory times
/// the number of containers that flood.
const HELD: usize = 256 << 10;
/// Bytes a second that a container may log in the long run, and at once. A flood beyond it slows its container down and not the disk of the others.
const RATE: u64 = 4 << 20;
const BURST: u64 = 8 << 20;

/// A log file that is written.
pub struct LogFile {
    path: PathBuf,
    limit: u64,
    queue: Queue,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
}

/// How far a log is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes in the present file.
    pub size: u64,
    /// How often the file was rotated away.
    pub rotations: u64,
    /// There will be no more.
    pub is_closed: bool,
}

struct State {
    stdout: Lines,
    stderr: Lines,
    held: Vec<u8>,
    wakers: Vec<Waker>,
    is_queued: bool,
    closing: Option<Vec<PathBuf>>,
    bucket: Bucket,
    has_failed: bool,
}

/// A bucket of bytes that may be written.
struct Bucket {
    tokens: u64,
    at: Instant,
}

impl std::fmt::Debug for LogFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl LogFile {
    pub(super) fn new(path: PathBuf, limit: u64, queue: Queue) -> Arc<Self> {
        Arc::new(Self {
            path,
            limit,
            queue,
            state: Mutex::new(State {
                stdout: Lines::new(Stream::Stdout),
                stderr: Lines::new(Stream::Stderr),
                held: Vec::new(),
                wakers: Vec::new(),
                is_queued: false,
                closing: None,
                bucket: Bucket {
                    tokens: BURST,
                    at: Instant::now(),
                },
                has_failed: false,
            }),
            progress: watch::Sender::new(Progress::default()),
        })
    }

    /// Takes what a container writes to one of its streams.
    #[must_use]
    pub fn sink(self: &Arc<Self>, stream: Stream) -> Arc<dyn LogSink> {
        Arc::new(Sink {
            file: Arc::clone(self),
            stream,
        })
    }

    /// Follows how far the log is on disk.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The container has ended. `older` are logs that nobody asks for any more.
    pub(super) fn close(self: &Arc<Self>, older: Vec<PathBuf>) {
        let mut state = self.state.lock();
        let now = Timestamp::now();
        let State {
            stdout,
            stderr,
            held,
            ..
        } = &mut *state;
        stdout.finish(now, held);
        stderr.finish(now, held);
        state.closing = Some(older);
        self.enqueue(&mut state, Instant::now());
    }

    fn enqueue(self: &Arc<Self>, state: &mut State, due: Instant) {
        if !state.is_queued {
            state.is_queued = true;
            self.queue.push(due, Arc::clone(self));
        }
    }

    /// Writes what is held. Called by the writer alone; says when to come again.
    pub(super) fn flush(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let wait = state.bucket.wait(now);
        if !wait.is_zero() && state.closing.is_none() {
            return Some(now + wait);
        }
        let bytes = mem::take(&mut state.held);
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        state.bucket.take(size);
        state.is_queued = false;
        let closing = state.closing.take();
        let wakers = mem::take(&mut state.wakers);
        drop(state);
        for waker in wakers {
            waker.wake();
        }
        let written = self.append(&bytes);
        if let Err(error) = &written {
            let mut state = self.state.lock();
            if !mem::replace(&mut state.has_failed, true) {
                tracing::warn!(path = %self.path.display(), %error, "a log cannot be written, its lines are lost");
            }
        }
        let is_closed = closing.is_some();
        for path in closing.into_iter().flatten() {
            for path in [rotated(&path), path] {
                forget(&path);
            }
        }
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            if let Ok((size, has_rotated)) = written {
                progress.size = size;
                progress.rotations += u64::from(has_rotated);
            }
            progress.is_closed |= is_closed;
            *progress != before
        });
        None
    }

    /// Appends to the file, rotating before it grows beyond its limit. Says how long it is and whether it was rotated.
    fn append(&self, bytes: &[u8]) -> io::Result<(u64, bool)> {
        let mut progress = *self.progress.borrow();
        if bytes.is_empty() {
            return Ok((progress.size, false));
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut has_rotated = false;
        if progress.size > 0 && progress.size.saturating_add(length) > self.limit {
            fs::rename(&self.path, rotated(&self.path))?;
            progress.size = 0;
            has_rotated = true;
        }
        let mut options = fs::OpenOptions::new();
        options.append(true).create(true);
        let opened = options.open(&self.path).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            if let Some(parent) = self.path.parent() {
                fs::create_dir_all(parent)?;
            }
            options.open(&self.path)
        });
        opened?.write_all(bytes)?;
        Ok((progress.size.saturating_add(length), has_rotated))
    }
}

fn forget(path: &std::path::Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "an old log cannot be removed");
        }
        _ => {}
    }
}

impl Bucket {
    /// How long until something may be written.
    fn wait(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        let earned = u128::from(RATE) * passed.as_nanos() / 1_000_000_000;
        if earned > 0 {
            self.tokens = self
                .tokens
                .saturating_add(u64::try_from(earned).unwrap_or(BURST))
                .min(BURST);
            self.at = now;
        }
        if self.tokens > 0 {
            return Duration::ZERO;
        }
        // A piece at a time, so that a flood costs few wakes.
        Duration::from_millis(50)
    }

    fn take(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }
}

/// One stream of a container.
struct Sink {
    file: Arc<LogFile>,
    stream: Stream,
}

impl LogSink for Sink {
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.file.state.lock();
        if state.held.len() < HELD {
            return Poll::Ready(());
        }
        if !state
            .wakers
            .iter()
            .any(|waker| waker.will_wake(context.waker()))
        {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn write(&self, bytes: Bytes) {
        let mut state = self.file.state.lock();
        let now = Timestamp::now();
        let State {
            stdout,
            stderr,
            held,
            ..
        } = &mut *state;
        let lines = match self.stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        lines.write(&bytes, now, held);
        if !state.held.is_empty() {
            self.file.enqueue(&mut state, Instant::now());
        }
    }
}
