//! What a program says to somebody who listens: its standard streams as frames ([`coracle_api::channels`]) in one bounded queue. The program waits for whoever
//! listens; whoever no longer does holds nobody up.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use coracle_api::channels::encode;
use coracle_runtime::LogSink;
use parking_lot::Mutex;

use crate::terminal::shown;

/// Bytes that wait to be heard. One write more may be taken: streams ask before they write.
const CAPACITY: usize = 256 << 10;
/// Tasks that wait for room: the program's two streams, and threads of its own to come.
const WAITING: usize = 8;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Said {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing more comes.
    is_over: bool,
    /// Nobody listens any more.
    is_unheard: bool,
    writers: Vec<Waker>,
    listener: Option<Waker>,
}

impl Said {
    /// The program's stream on `channel`, as a terminal shows it or as it is.
    pub(crate) fn stream(self: &Arc<Self>, channel: u8, is_terminal: bool) -> Arc<dyn LogSink> {
        Arc::new(Stream {
            said: Arc::clone(self),
            channel,
            is_terminal,
        })
    }

    /// Says something besides the program: never waits, for it is short.
    pub(crate) fn say(&self, channel: u8, bytes: &[u8]) {
        let mut state = self.state.lock();
        if state.is_over || state.is_unheard {
            return;
        }
        let frames = Bytes::from(encode(channel, bytes));
        state.bytes += frames.len();
        state.frames.push_back(frames);
        if let Some(listener) = state.listener.take() {
            drop(state);
            listener.wake();
        }
    }

    /// Says the last word.
    pub(crate) fn end(&self, channel: u8, bytes: &[u8]) {
        self.say(channel, bytes);
        let mut state = self.state.lock();
        state.is_over = true;
        let waiting = std::mem::take(&mut state.writers);
        let listener = state.listener.take();
        drop(state);
        waiting.into_iter().chain(listener).for_each(Waker::wake);
    }

    /// Bytes that nobody has heard yet.
    pub(crate) fn unheard(&self) -> usize {
        self.state.lock().bytes
    }

    /// Nobody listens any more: what is said is dropped.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        state.is_unheard = true;
        state.frames.clear();
        state.bytes = 0;
        let waiting = std::mem::take(&mut state.writers);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// What was said next; `None` when all was.
    pub(crate) fn poll_next(&self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state.lock();
        let Some(frames) = state.frames.pop_front() else {
            if state.is_over {
                return Poll::Ready(None);
            }
            state.listener = Some(context.waker().clone());
            return Poll::Pending;
        };
        state.bytes = state.bytes.saturating_sub(frames.len());
        let waiting = std::mem::take(&mut state.writers);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(frames))
    }

    fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.is_over || state.is_unheard || state.bytes < CAPACITY {
            return Poll::Ready(());
        }
        if !state
            .writers
            .iter()
            .any(|one| one.will_wake(context.waker()))
        {
            // More than are known of are woken to look again.
            if state.writers.len() >= WAITING {
                state.writers.drain(..).for_each(Waker::wake);
            }
            state.writers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// One stream of the program.
struct Stream {
    said: Arc<Said>,
    channel: u8,
    is_terminal: bool,
}

impl LogSink for Stream {
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.said.poll_room(context)
    }

    fn write(&self, bytes: Bytes) {
        if self.is_terminal {
            self.said.say(self.channel, &shown(&bytes));
        } else {
            self.said.say(self.channel, &bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use coracle_api::channels::{Decoder, ERROR, STDERR, STDOUT};
    use futures::FutureExt as _;

    use super::*;

    fn room(stream: &Arc<dyn LogSink>) -> Option<()> {
        poll_fn(|context| stream.poll_ready(context)).now_or_never()
    }

    #[tokio::test]
    async fn streams_are_heard_in_order_and_then_the_end() {
        let said = Arc::new(Said::default());
        said.stream(STDOUT, false).write(Bytes::from_static(b"a\n"));
        said.stream(STDERR, true).write(Bytes::from_static(b"b\n"));
        said.end(ERROR, b"over");
        said.say(STDOUT, b"too late");
        let mut decoder = Decoder::default();
        while let Some(bytes) = poll_fn(|context| said.poll_next(context)).await {
            decoder.feed(&bytes);
        }
        let mut heard = Vec::new();
        while let Some((channel, bytes)) = decoder.next_frame().unwrap() {
            heard.push((channel, bytes.to_vec()));
        }
        let expected = [(STDOUT, &b"a\n"[..]), (STDERR, b"b\r\n"), (ERROR, b"over")];
        assert_eq!(
            heard,
            expected.map(|(channel, bytes)| (channel, bytes.to_vec()))
        );
    }

    #[tokio::test]
    async fn a_program_waits_for_who_listens_and_not_for_who_has_left() {
        let said = Arc::new(Said::default());
        let stream = said.stream(STDOUT, false);
        while room(&stream).is_some() {
            stream.write(vec![b'x'; 10_000].into());
        }
        assert!(said.unheard() >= CAPACITY && said.unheard() < CAPACITY + 20_000);
        poll_fn(|context| said.poll_next(context)).await.unwrap();
        assert_eq!(room(&stream), Some(()));
        stream.write(vec![b'x'; CAPACITY].into());
        assert_eq!(room(&stream), None);
        said.leave();
        assert_eq!(room(&stream), Some(()));
        stream.write(vec![b'x'; CAPACITY].into());
        assert_eq!(said.unheard(), 0);
    }
}
