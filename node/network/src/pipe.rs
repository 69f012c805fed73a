//! One direction of a connection: a bounded queue of byte chunks between a writer and a reader. Chunks are passed on, not copied.
//!
//! Readiness is exact: [`Pipe::poll_readable`] is ready only when a read yields bytes, the end or an error, and likewise for writing. (wasmtime
//! traps a guest whose stream says ready in vain ten times.)

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{error::NetError, wakers::Wakers};

/// Bytes in flight per direction: enough for a fast reader never to wait, small enough for thousands of connections.
pub const CAPACITY: usize = 256 << 10;

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    inner: Mutex<Inner>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Bytes>,
    length: usize,
    /// No more will be written: the reader gets what is queued, then the end.
    finished: bool,
    /// The connection breaks once what is queued is read.
    broken: bool,
    /// Nobody will read: writing fails.
    abandoned: bool,
    /// Nobody will read, though the reader is still there: what is written is thrown away.
    discarding: bool,
    /// The connection broke: what is queued is lost.
    reset: bool,
    readers: Wakers,
    writers: Wakers,
}

impl Pipe {
    /// An empty pipe for [`CAPACITY`] bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    /// An empty pipe for `capacity` bytes, at least one.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            inner: Mutex::default(),
            capacity: capacity.max(1),
        }
    }

    /// Takes at most `limit` bytes, as they were written. `None` is the end. `limit` must not be 0.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there yet; `ConnectionReset`.
    pub fn try_read(&self, limit: usize) -> Result<Option<Bytes>, NetError> {
        let mut inner = self.inner.lock();
        if inner.reset {
            return Err(NetError::ConnectionReset);
        }
        let Some(mut chunk) = inner.chunks.pop_front() else {
            return if inner.broken {
                Err(NetError::ConnectionReset)
            } else if inner.finished || inner.discarding || inner.abandoned {
                Ok(None)
            } else {
                Err(NetError::WouldBlock)
            };
        };
        if chunk.len() > limit {
            let rest = chunk.split_off(limit);
            inner.chunks.push_front(rest);
        }
        inner.length -= chunk.len();
        let writers = inner.writers.take();
        drop(inner);
        writers.wake();
        Ok(Some(chunk))
    }

    /// Queues as much of `bytes` as there is room for and says how much that was.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; `ConnectionReset` when nobody reads; `InvalidState` after [`Pipe::finish`].
    pub fn try_write(&self, bytes: &mut Bytes) -> Result<usize, NetError> {
        let mut inner = self.inner.lock();
        if inner.finished {
            return Err(NetError::InvalidState);
        }
        if inner.reset || inner.abandoned || inner.broken {
            return Err(NetError::ConnectionReset);
        }
        if inner.discarding {
            let written = bytes.len();
            bytes.clear();
            return Ok(written);
        }
        let room = self.capacity.saturating_sub(inner.length);
        if room == 0 {
            return Err(NetError::WouldBlock);
        }
        let chunk = bytes.split_to(room.min(bytes.len()));
        let written = chunk.len();
        if written == 0 {
            return Ok(0);
        }
        inner.length += written;
        inner.chunks.push_back(chunk);
        let readers = inner.readers.take();
        drop(inner);
        readers.wake();
        Ok(written)
    }

    /// How many bytes can be written now.
    ///
    /// # Errors
    /// As [`Pipe::try_write`], apart from `WouldBlock`.
    pub fn room(&self) -> Result<usize, NetError> {
        let inner = self.inner.lock();
        if inner.finished {
            return Err(NetError::InvalidState);
        }
        if inner.reset || inner.abandoned || inner.broken {
            return Err(NetError::ConnectionReset);
        }
        Ok(self.capacity.saturating_sub(inner.length))
    }

    /// Ready when a read would not block.
    pub fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.is_ended() || !inner.chunks.is_empty() {
            return Poll::Ready(());
        }
        inner.readers.register(context);
        Poll::Pending
    }

    /// Ready when a write would not block.
    pub fn poll_writable(&self, context: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.is_ended() || inner.length < self.capacity {
            return Poll::Ready(());
        }
        inner.writers.register(context);
        Poll::Pending
    }

    /// Nothing more will be written.
    pub fn finish(&self) {
        self.change(|inner| inner.finished = true);
    }

    /// Nothing more will be written, and the reader is to know that something was lost: after what is queued it reads a reset instead of the end.
    pub fn break_off(&self) {
        self.change(|inner| inner.broken = true);
    }

    /// Nothing more will be read, though the reader stays: it reads the end from now on, and the writer does not notice (`SHUT_RD`).
    pub fn discard(&self) {
        self.change(|inner| {
            inner.discarding = true;
            inner.chunks.clear();
            inner.length = 0;
        });
    }

    /// Whether reading would give the end or an error, now and always.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let inner = self.inner.lock();
        inner.is_ended() && inner.chunks.is_empty()
    }

    /// Whether bytes wait to be read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.inner.lock().length > 0
    }

    /// Nothing more will be read. What is queued is dropped; if more is written, the writer learns of it.
    pub fn abandon(&self) {
        self.change(|inner| {
            inner.abandoned = true;
            inner.chunks.clear();
            inner.length = 0;
        });
    }

    /// The connection breaks.
    pub fn reset(&self) {
        self.change(|inner| {
            inner.reset = true;
            inner.chunks.clear();
            inner.length = 0;
        });
    }

    /// Whether everything written was read, or never will be.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let inner = self.inner.lock();
        inner.chunks.is_empty() || inner.abandoned || inner.reset
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock();
        change(&mut inner);
        let (readers, writers) = (inner.readers.take(), inner.writers.take());
        drop(inner);
        readers.wake();
        writers.wake();
    }
}

impl Inner {
    /// Nothing waits any more, neither to be read nor for room.
    fn is_ended(&self) -> bool {
        self.reset || self.finished || self.broken || self.abandoned || self.discarding
    }
}

impl Default for Pipe {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_holds_and_reading_makes_room() {
        let pipe = Pipe::with_capacity(4);
        let mut bytes = Bytes::from_static(b"abcdef");
        assert_eq!(pipe.try_write(&mut bytes), Ok(4));
        assert_eq!(bytes, "ef");
        assert_eq!(pipe.try_write(&mut bytes), Err(NetError::WouldBlock));
        assert_eq!(pipe.try_read(3).unwrap().unwrap(), "abc");
        assert_eq!(pipe.try_write(&mut bytes), Ok(2));
        assert_eq!(pipe.try_read(9).unwrap().unwrap(), "d");
        assert_eq!(pipe.try_read(9).unwrap().unwrap(), "ef");
        assert_eq!(pipe.try_read(9), Err(NetError::WouldBlock));
    }

    #[test]
    fn the_end_comes_after_what_was_written_and_a_reset_at_once() {
        let pipe = Pipe::new();
        pipe.try_write(&mut Bytes::from_static(b"last")).unwrap();
        pipe.finish();
        assert_eq!(
            pipe.try_write(&mut Bytes::from_static(b"x")),
            Err(NetError::InvalidState)
        );
        assert_eq!(pipe.try_read(9).unwrap().unwrap(), "last");
        assert_eq!(pipe.try_read(9), Ok(None));
        let pipe = Pipe::new();
        pipe.try_write(&mut Bytes::from_static(b"lost")).unwrap();
        pipe.reset();
        assert_eq!(pipe.try_read(9), Err(NetError::ConnectionReset));
        assert_eq!(
            pipe.try_write(&mut Bytes::from_static(b"x")),
            Err(NetError::ConnectionReset)
        );
    }

    #[test]
    fn a_broken_pipe_gives_what_it_has_first_and_a_discarding_one_nothing() {
        let pipe = Pipe::new();
        pipe.try_write(&mut Bytes::from_static(b"kept")).unwrap();
        pipe.break_off();
        assert_eq!(pipe.room(), Err(NetError::ConnectionReset));
        assert_eq!(pipe.try_read(9).unwrap().unwrap(), "kept");
        assert_eq!(pipe.try_read(9), Err(NetError::ConnectionReset));
        let pipe = Pipe::with_capacity(2);
        pipe.try_write(&mut Bytes::from_static(b"ab")).unwrap();
        pipe.discard();
        assert_eq!(pipe.try_read(9), Ok(None));
        assert_eq!(pipe.try_write(&mut Bytes::from_static(b"more")), Ok(4));
        assert!(!pipe.has_unread());
    }

    async fn copy(pipe: Arc<Pipe>, data: Vec<u8>, step: usize) {
        for chunk in data.chunks(step.max(1)) {
            let mut bytes = Bytes::copy_from_slice(chunk);
            while !bytes.is_empty() {
                poll_fn(|context| pipe.poll_writable(context)).await;
                // Ready means that this does not block.
                pipe.try_write(&mut bytes).unwrap();
            }
        }
        pipe.finish();
    }

    async fn collect(pipe: Arc<Pipe>, limit: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            poll_fn(|context| pipe.poll_readable(context)).await;
            match pipe.try_read(limit.max(1)).unwrap() {
                Some(chunk) => all.extend_from_slice(&chunk),
                None => return all,
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_arrive_in_order_whatever_the_sizes(data in proptest::collection::vec(any::<u8>(), 0..2000), capacity in 1_usize..64, step in 1_usize..100, limit in 1_usize..100) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let arrived = runtime.block_on(async {
                let pipe = Arc::new(Pipe::with_capacity(capacity));
                let writer = tokio::spawn(copy(Arc::clone(&pipe), data.clone(), step));
                let reader = tokio::spawn(collect(pipe, limit));
                let bound = std::time::Duration::from_secs(20);
                tokio::time::timeout(bound, async { writer.await.unwrap(); reader.await.unwrap() }).await.expect("a wake-up was lost")
            });
            prop_assert_eq!(arrived, data);
        }
    }
}
