//! Long answers (watches, logs, large lists) that their clients must take: counts them, and cuts off whoever does not read. An answer is pulled,
//! so a slow reader holds up nobody; but it holds a place and memory, which are given back here. Knows nothing of what is streamed.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{BoxError, body::Body};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A request extension by which a listener lets itself be told to close the connection of the request. Where it is missing (in-process
/// clients), a stalled answer is dropped and the connection left to its owner.
#[derive(Clone, Debug, Default)]
pub struct CutOff(pub CancellationToken);

/// The open long answers of a server.
#[derive(Debug)]
pub struct Streams {
    open: Mutex<HashMap<u64, Weak<Shared>>>,
    next: AtomicU64,
    stall_time: Duration,
}

/// What the body and the sweep share.
struct Shared {
    inner: Mutex<Inner>,
    cut_off: Option<CutOff>,
}

struct Inner {
    /// The body and whatever it must keep alive; gone when cut off.
    body: Option<Body>,
    /// When a frame was handed out and the next has not been asked for yet.
    handed: Option<Instant>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Streams {
    /// No streams. A client may leave what is ready for it for `stall_time`.
    #[must_use]
    pub fn new(stall_time: Duration) -> Self {
        Self {
            open: Mutex::default(),
            next: AtomicU64::new(0),
            stall_time,
        }
    }

    /// The body, watched over until it ends.
    pub fn guard(self: &Arc<Self>, body: Body, cut_off: Option<CutOff>) -> Body {
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                body: Some(body),
                handed: Some(Instant::now()),
            }),
            cut_off,
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(id, Arc::downgrade(&shared));
        Body::new(Guarded {
            shared,
            id,
            streams: Arc::clone(self),
        })
    }

    /// Drops the answers whose clients have not read for too long at `now`, and says how many. Called every few seconds.
    pub fn sweep(&self, now: Instant) -> usize {
        let open: Vec<_> = self
            .open
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let mut cut = 0;
        for shared in open {
            let mut inner = shared.inner.lock();
            let stalled = inner
                .handed
                .is_some_and(|since| now.saturating_duration_since(since) > self.stall_time);
            if !stalled || inner.body.is_none() {
                continue;
            }
            let body = inner.body.take();
            drop(inner);
            drop(body);
            if let Some(cut_off) = &shared.cut_off {
                cut_off.0.cancel();
            }
            cut += 1;
        }
        cut
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A body under watch.
struct Guarded {
    shared: Arc<Shared>,
    id: u64,
    streams: Arc<Streams>,
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("the client did not read for too long")]
struct Stalled;

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut inner = self.shared.inner.lock();
        inner.handed = None;
        let Some(body) = &mut inner.body else {
            return Poll::Ready(Some(Err(Stalled.into())));
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(_))) {
            inner.handed = Some(Instant::now());
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.shared.inner.lock();
        inner.body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.shared.inner.lock();
        inner
            .body
            .as_ref()
            .map(HttpBody::size_hint)
            .unwrap_or_default()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.streams.open.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;

    use super::*;

    fn reading_state(streams: &Streams, id: u64) -> Arc<Shared> {
        streams.open.lock()[&id].upgrade().unwrap()
    }

    /// Makes it as if the last frame had been taken later.
    fn shift(shared: &Shared, by: Duration) {
        let mut inner = shared.inner.lock();
        inner.handed = inner.handed.map(|at| at + by);
    }

    fn endless() -> Body {
        Body::from_stream(stream::repeat_with(|| Ok::<_, BoxError>(Bytes::from("x"))))
    }

    #[tokio::test]
    async fn a_reader_that_stops_is_cut_off_and_an_idle_stream_is_not() {
        let streams = Arc::new(Streams::new(Duration::from_secs(60)));
        let cut_off = CutOff::default();
        let mut stalled = streams.guard(endless(), Some(cut_off.clone()));
        let mut idle = streams.guard(
            Body::from_stream(stream::pending::<Result<Bytes, BoxError>>()),
            None,
        );
        let mut reading = streams.guard(endless(), None).into_data_stream();
        stalled.frame().await.unwrap().unwrap();
        assert!(futures::poll!(idle.frame()).is_pending());
        let stopped = Instant::now();
        assert_eq!(streams.sweep(stopped + Duration::from_secs(59)), 0);
        // The others: one has asked for more and waits, one has taken its last frame just now.
        reading.next().await.unwrap().unwrap();
        shift(&reading_state(&streams, 2), Duration::from_secs(30));
        assert_eq!(streams.sweep(stopped + Duration::from_secs(61)), 1);
        assert!(cut_off.0.is_cancelled());
        assert!(stalled.frame().await.unwrap().is_err());
        reading.next().await.unwrap().unwrap();
        assert!(futures::poll!(idle.frame()).is_pending());
        assert_eq!(streams.len(), 3);
        drop((stalled, idle, reading));
        assert!(streams.is_empty());
    }
}
