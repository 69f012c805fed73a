//! The finished log segments on their way from the writer to the checkpoint, and what the checkpoint has to say when it cannot go on.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use parking_lot::{Condvar, Mutex};

use crate::revision::Revision;

/// How many segments may wait before the writer does.
const FULL: usize = 4;

/// A finished segment and the revision of the last transaction up to its end.
pub(super) type Finished = (PathBuf, Revision);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    segments: VecDeque<Finished>,
    /// Why the last attempt failed.
    failed: Option<String>,
    closing: bool,
}

impl Backlog {
    /// Adds a segment.
    pub(super) fn push(&self, segment: Finished) {
        self.inner.lock().segments.push_back(segment);
        self.changed.notify_all();
    }

    /// Waits while too many segments wait and the checkpoint works on them. Says why when it does not: then nothing more should be written,
    /// because the log would grow without bound.
    pub(super) fn room(&self) -> Result<(), String> {
        let mut inner = self.inner.lock();
        while inner.segments.len() >= FULL {
            if let Some(failed) = &inner.failed {
                return Err(failed.clone());
            }
            self.changed.wait(&mut inner);
        }
        Ok(())
    }

    /// The oldest segment, waiting for one; `None` at the end. It stays in the backlog until [`Backlog::done`].
    pub(super) fn next(&self) -> Option<Finished> {
        let mut inner = self.inner.lock();
        loop {
            if inner.closing {
                return None;
            }
            if let Some(segment) = inner.segments.front() {
                return Some(segment.clone());
            }
            self.changed.wait(&mut inner);
        }
    }

    /// The oldest segment is in the tree and gone from the log.
    pub(super) fn done(&self) {
        let mut inner = self.inner.lock();
        inner.segments.pop_front();
        inner.failed = None;
        self.changed.notify_all();
    }

    /// The oldest segment could not be brought into the tree. Returns after `pause`, or at once when the store closes.
    pub(super) fn failed(&self, why: String, pause: Duration) {
        let mut inner = self.inner.lock();
        inner.failed = Some(why);
        self.changed.notify_all();
        let until = std::time::Instant::now() + pause;
        while !inner.closing && !self.changed.wait_until(&mut inner, until).timed_out() {}
    }

    /// The checkpoint ends for good, for this reason.
    pub(super) fn ended(&self, why: String) {
        self.inner.lock().failed = Some(why);
        self.changed.notify_all();
    }

    /// Lets the checkpoint end after the segment it is at.
    pub(super) fn close(&self) {
        self.inner.lock().closing = true;
        self.changed.notify_all();
    }

    /// How many segments wait.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().segments.len()
    }
}
