//! Watches: where a watch begins, and its stream of frames until time, client or history ends it. Pulled by the client: a watcher that does
//! not read falls behind the kept history and is told so, and delays nobody.

use std::{sync::Arc, time::Duration, vec};

use axum::{BoxError, body::Body};
use bytes::{Bytes, BytesMut};
use coracle_api::{registry::Resource, status::ApiError};
use coracle_store::{List, Record, Revision, Storage, StoreError, Watch};
use futures::stream;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::{
    frames::{Framer, Kind},
    version,
};
use crate::{ambient::Ambient, encoded::Stored, error, limits::StreamPermit, query::Query};

/// How often a watcher that wants bookmarks gets one, as upstream. Half doubles idle traffic; double makes resuming after a quiet time dearer.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch without timeoutSeconds lasts, plus up to as much again, so that clients that came together do not come back together.
const DEFAULT_TIME: u64 = 1800;
/// About how many bytes of frames are handed out at once.
const CHUNK: usize = 64 << 10;
/// So many objects of the initial state are looked at before others get a turn.
const LOOK_AT: usize = 256;

/// What a watch request asks for besides the selection.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    start: Start,
    bookmarks: bool,
    time: Duration,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// With what exists now, as added. `marked`: with a bookmark after it.
    Now { marked: bool },
    /// With the changes after this revision.
    After(Revision),
    /// With the changes after now.
    FromNow,
}

impl Wish {
    /// Reads the query of a watch.
    ///
    /// # Errors
    /// `Invalid` for what upstream refuses.
    pub fn parse(query: &Query, ambient: &dyn Ambient) -> Result<Self, ApiError> {
        let forbidden = |why: &str| Err(version::forbidden_match(why));
        let asked = version::parse(query.get("resourceVersion"))?;
        let bookmarks = query.flag("allowWatchBookmarks");
        let matching = query.text("resourceVersionMatch");
        let start = match (query.optional_flag("sendInitialEvents"), matching) {
            (None, None) => match asked {
                None | Some(Revision(0)) => Start::Now { marked: false },
                Some(revision) => Start::After(revision),
            },
            (None, Some(_)) => {
                return forbidden(
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            (Some(_), matching) if matching != Some("NotOlderThan") => {
                return forbidden(
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
            (Some(true), _) => Start::Now { marked: bookmarks },
            (Some(false), _) => match asked {
                None | Some(Revision(0)) => Start::FromNow,
                Some(revision) => Start::After(revision),
            },
        };
        let seconds = match query.number::<u64>("timeoutSeconds")? {
            Some(seconds) if seconds > 0 => seconds,
            _ => {
                let more = u64::try_from(ambient.draw() % u128::from(DEFAULT_TIME)).unwrap_or(0);
                DEFAULT_TIME + more
            }
        };
        Ok(Self {
            start,
            bookmarks,
            // A day: what is longer than any connection lives does not matter.
            time: Duration::from_secs(seconds.min(86_400)),
        })
    }
}

/// A watch on its way.
struct Running {
    resource: Arc<Resource>,
    framer: Framer,
    /// What existed at the beginning and was not sent yet.
    initial: vec::IntoIter<Arc<Record>>,
    /// The end of the initial events is to be marked.
    mark: bool,
    watch: Watch,
    began_at: Revision,
    /// The revision of the last bookmark.
    bookmarked: Revision,
    bookmarks: Option<tokio::time::Interval>,
    ends: Instant,
    ended: bool,
    ambient: Arc<dyn Ambient>,
    _permit: StreamPermit,
}

/// Begins a watch of the keys under `prefix` and gives its body.
///
/// # Errors
/// `Timeout` for a revision that has not happened, and what the store says. A revision that is too old is told in the stream, as an ERROR
/// frame, which is where clients look for it.
pub async fn begin(
    store: &dyn Storage,
    prefix: &str,
    resource: Arc<Resource>,
    wish: Wish,
    framer: Framer,
    ambient: Arc<dyn Ambient>,
    permit: StreamPermit,
) -> Result<Body, ApiError> {
    let (initial, after, mark) = match wish.start {
        Start::Now { marked } => {
            let list = List {
                prefix: prefix.to_owned(),
                ..List::default()
            };
            let page = store.list(list).await.map_err(error::from_store)?;
            (page.records, page.revision, marked)
        }
        Start::After(revision) => (Vec::new(), revision, false),
        Start::FromNow => (Vec::new(), store.revision(), false),
    };
    let watch = match store.watch(prefix, after).await {
        Ok(watch) => watch,
        Err(StoreError::Compacted { oldest }) => {
            return Ok(Body::from(framer.error(&too_old(after, oldest))?));
        }
        Err(StoreError::Future { current }) => return Err(version::too_large(after, current)),
        Err(error) => return Err(error::from_store(error)),
    };
    let now = Instant::now();
    let bookmarks = wish.bookmarks.then(|| {
        let mut ticks = interval_at(now + BOOKMARK_EVERY, BOOKMARK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let running = Running {
        resource,
        framer,
        initial: initial.into_iter(),
        mark,
        watch,
        began_at: after,
        bookmarked: after,
        bookmarks,
        ends: now + wish.time,
        ended: false,
        ambient,
        _permit: permit,
    };
    Ok(Body::from_stream(stream::unfold(
        running,
        |mut running| async {
            let frames = running.next().await?;
            Some((frames, running))
        },
    )))
}

/// Why a watch cannot begin or go on where it was.
fn too_old(asked: Revision, oldest: Revision) -> ApiError {
    ApiError::expired(
        format!("too old resource version: {asked} ({oldest})"),
        None,
    )
}

impl Running {
    /// The next frames, or the end.
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        if self.ended {
            return None;
        }
        let frames = match self.frames().await {
            Ok(frames) => frames,
            Err(error) => {
                self.ended = true;
                match self.framer.error(&error) {
                    Ok(frame) => Some(frame),
                    Err(error) => return Some(Err(error.into())),
                }
            }
        };
        if frames.is_none() {
            self.ended = true;
        }
        frames.map(Ok)
    }

    async fn frames(&mut self) -> Result<Option<Bytes>, ApiError> {
        while self.initial.len() > 0 || self.mark {
            if let Some(frames) = self.initial()? {
                return Ok(Some(frames));
            }
            tokio::task::yield_now().await;
        }
        loop {
            tokio::select! {
                biased;
                events = self.watch.next() => {
                    let events = events.map_err(|error| match error {
                        StoreError::Compacted { oldest } => too_old(self.watch.position(), oldest),
                        error => error::from_store(error),
                    })?;
                    let now = self.ambient.now();
                    let mut made = Vec::with_capacity(events.len());
                    for event in &events {
                        made.extend(self.framer.change(event, now)?);
                    }
                    if let Some(frames) = join(made) {
                        return Ok(Some(frames));
                    }
                }
                () = tick(&mut self.bookmarks) => {
                    if let Some(bookmark) = self.bookmark()? {
                        return Ok(Some(bookmark));
                    }
                }
                () = sleep_until(self.ends) => {
                    // A last bookmark lets the client resume where it was.
                    self.ended = true;
                    return if self.bookmarks.is_some() { self.bookmark() } else { Ok(None) };
                }
            }
        }
    }

    /// A chunk of what existed at the beginning, with the mark behind the last. None when nothing of what was looked at is meant.
    fn initial(&mut self) -> Result<Option<Bytes>, ApiError> {
        let now = self.ambient.now();
        let mut chunk = BytesMut::new();
        for record in self.initial.by_ref().take(LOOK_AT) {
            let stored = Stored::open(record)?;
            if self.framer.selects(&stored)? {
                chunk.extend_from_slice(&self.framer.frame(Kind::Added, &stored, now)?);
            }
            if chunk.len() >= CHUNK {
                break;
            }
        }
        if self.initial.len() == 0 && std::mem::take(&mut self.mark) {
            let mark = self.framer.bookmark(&self.resource, self.began_at, true)?;
            chunk.extend_from_slice(&mark);
        }
        Ok((!chunk.is_empty()).then(|| chunk.freeze()))
    }

    /// A bookmark, if anything has happened since the last.
    fn bookmark(&mut self) -> Result<Option<Bytes>, ApiError> {
        // Nothing is outstanding: the watch was asked first, and its position is the revision up to which nothing is missing.
        let position = self.watch.position();
        if position == self.bookmarked {
            return Ok(None);
        }
        self.bookmarked = position;
        let bookmark = self.framer.bookmark(&self.resource, position, false)?;
        Ok(Some(bookmark))
    }
}

/// The next tick of an interval; never, if there is none.
async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Puts frames together. A single one, the usual case with many watchers, is passed on without a copy.
fn join(mut frames: Vec<Bytes>) -> Option<Bytes> {
    if frames.len() <= 1 {
        return frames.pop();
    }
    Some(frames.concat().into())
}
