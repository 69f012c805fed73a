//! Standard input: bytes that the host is given while the guest runs, for whoever attaches to a container or has a command run in it. Bounded: whoever writes
//! waits for the guest to read.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi_io::{
    async_trait,
    poll::Pollable,
    streams::{InputStream, StreamError, StreamResult},
};

/// Bytes that wait to be read.
const CAPACITY: usize = 256 << 10;
/// The most bytes in one read: also what the host allocates for it.
const READ_BYTES: usize = 64 << 10;
/// Tasks that wait at one end at a time: a guest has one, and so has whoever writes; more are woken to look again.
const WAITING: usize = 4;

/// The standard input of a container or a command.
#[derive(Debug, Default)]
pub struct Stdin {
    state: Mutex<State>,
    is_terminal: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    has_ended: bool,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

impl Stdin {
    /// An input with nothing in it; what it is given comes from a terminal or not.
    #[must_use]
    pub fn new(is_terminal: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            is_terminal: AtomicBool::new(is_terminal),
        })
    }

    /// Gives the guest bytes; waits while it has not read those before. What comes after the end is dropped.
    pub async fn write(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        poll_fn(|context| {
            let mut state = self.state.lock();
            if !state.has_ended && state.bytes >= CAPACITY {
                wait(&mut state.writers, context);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let mut state = self.state.lock();
        if state.has_ended {
            return;
        }
        state.bytes += bytes.len();
        state.pieces.push_back(bytes);
        wake(std::mem::take(&mut state.readers));
    }

    /// Says that no more comes.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.has_ended = true;
        let both = [
            std::mem::take(&mut state.readers),
            std::mem::take(&mut state.writers),
        ];
        drop(state);
        both.into_iter().for_each(wake);
    }

    /// Whether the guest waits for input that is not there.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.state.lock().readers.is_empty()
    }

    /// Ready when a read yields bytes or the end.
    fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.has_ended || !state.pieces.is_empty() {
            return Poll::Ready(());
        }
        wait(&mut state.readers, context);
        Poll::Pending
    }

    /// What can be read now: `None` at the end, nothing while there is nothing.
    fn read(&self, limit: usize) -> Option<Bytes> {
        let mut state = self.state.lock();
        let Some(first) = state.pieces.front_mut() else {
            return (!state.has_ended).then(Bytes::new);
        };
        let read = first.split_to(first.len().min(limit));
        if first.is_empty() {
            state.pieces.pop_front();
        }
        state.bytes = state.bytes.saturating_sub(read.len());
        let writers = std::mem::take(&mut state.writers);
        drop(state);
        wake(writers);
        Some(read)
    }
}

fn wait(waiting: &mut Vec<Waker>, context: &Context<'_>) {
    if waiting.iter().any(|one| one.will_wake(context.waker())) {
        return;
    }
    if waiting.len() >= WAITING {
        wake(std::mem::take(waiting));
    }
    waiting.push(context.waker().clone());
}

fn wake(waiting: Vec<Waker>) {
    waiting.into_iter().for_each(Waker::wake);
}

/// The guest's end.
#[derive(Clone)]
pub(super) struct Input(pub(super) Arc<Stdin>);

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        self.0.is_terminal.load(Ordering::Relaxed)
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        poll_fn(|context| self.0.poll_readable(context)).await;
    }
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let read = self.0.read(size.min(READ_BYTES));
        read.ok_or(StreamError::Closed)
    }
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.0.poll_readable(context));
        let read = self.0.read(buffer.remaining().min(READ_BYTES));
        buffer.put_slice(&read.unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn bytes_are_read_in_order_and_then_the_end() {
        let stdin = Stdin::new(false);
        let mut input = Input(Arc::clone(&stdin));
        assert_eq!(input.read(8).unwrap(), Bytes::new());
        assert!(!stdin.is_wanted());
        assert_eq!(input.ready().now_or_never(), None);
        assert!(stdin.is_wanted());
        stdin.write(Bytes::from_static(b"hello")).await;
        assert!(!stdin.is_wanted());
        input.ready().await;
        assert_eq!(input.read(3).unwrap(), "hel");
        stdin.end();
        stdin.write(Bytes::from_static(b"too late")).await;
        assert_eq!(input.read(8).unwrap(), "lo");
        input.ready().await;
        assert!(matches!(input.read(8), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn whoever_writes_waits_for_the_guest() {
        let stdin = Stdin::new(false);
        stdin.write(vec![b'x'; CAPACITY].into()).await;
        let mut more = Box::pin(stdin.write(Bytes::from_static(b"y")));
        assert_eq!((&mut more).now_or_never(), None);
        let mut input = Input(Arc::clone(&stdin));
        assert_eq!(input.read(READ_BYTES).unwrap().len(), READ_BYTES);
        more.await;
    }
}
