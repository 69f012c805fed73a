//! The one thread that changes the store: takes requests in order, decides them against the state, writes what a group of them changed in one
//! append, and only then makes it visible and answers. Readers never wait for the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, mpsc::SyncSender},
};

use tokio::sync::{mpsc, oneshot};

use super::{Shared, frame::Frame, segment::Segment, volatile};
use crate::{
    error::StoreError,
    record::Record,
    revision::Revision,
    txn::{Durability, Op},
    watch::Event,
};

/// The most requests written in one append. Bounds the latency that a group adds and the memory its frames take.
const GROUP: usize = 1024;
/// How many revisions are set aside for volatile changes at a time: one synced write for so many of them.
const RESERVE: u64 = 10_000;

/// Where the outcome of a request goes.
type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked.
pub(super) enum Request {
    /// Do this transaction.
    Commit {
        ops: Vec<Op>,
        answer: Answer<Revision>,
    },
    /// Forget history.
    Compact { to: Revision, answer: Answer<()> },
    /// Write what is left and end.
    Close,
}

/// The writer's own state.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) segment: Segment,
    pub(super) folder: PathBuf,
    pub(super) segment_limit: u64,
    /// Finished segments go here to be checkpointed.
    pub(super) finished: SyncSender<PathBuf>,
    /// The revision of the last transaction in the log.
    pub(super) logged: Revision,
    /// Volatile changes may take revisions up to here.
    pub(super) reserved: Revision,
    /// The revision of the last volatile change.
    pub(super) volatile: Revision,
    /// Keys whose present content the log does not hold.
    pub(super) unlogged: BTreeSet<Arc<str>>,
    /// Set by the first I/O error: what is on disk is then unknown, and nothing is written any more.
    pub(super) failed: Option<StoreError>,
}

/// A group of decided requests on its way to the disk.
#[derive(Default)]
struct Group {
    frames: Vec<u8>,
    events: Vec<Vec<Event>>,
    overlay: BTreeMap<Arc<str>, Option<Arc<Record>>>,
    answers: Vec<(Answer<Revision>, Result<Revision, StoreError>)>,
    compactions: Vec<(Answer<()>, Revision)>,
    logged: Option<Revision>,
}

impl Writer {
    /// Serves requests until [`Request::Close`] or until all senders are gone.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(GROUP);
        while requests.blocking_recv_many(&mut batch, GROUP) > 0 {
            let mut group = Group::default();
            let mut close = false;
            for request in batch.drain(..) {
                match request {
                    Request::Commit { ops, answer } => {
                        let outcome = self.decide(&ops, &mut group);
                        group.answers.push((answer, outcome));
                    }
                    Request::Compact { to, answer } => {
                        let to = to.min(self.shared.state.read().revision());
                        Frame::Compact { to }.encode(&mut group.frames);
                        group.compactions.push((answer, to));
                    }
                    Request::Close => close = true,
                }
            }
            self.finish(group);
            if close {
                break;
            }
        }
        self.close();
    }

    /// Decides one transaction on top of the group's earlier ones.
    fn decide(&mut self, ops: &[Op], group: &mut Group) -> Result<Revision, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let state = self.shared.state.read();
        let newest = group
            .events
            .last()
            .and_then(|events| events.first())
            .map_or(state.revision(), |event| event.revision);
        let revision = newest.next();
        let events = state.plan(&group.overlay, ops, revision)?;
        if events.is_empty() {
            return Ok(newest);
        }
        drop(state);
        if ops.iter().all(|op| op.durability == Durability::Volatile) {
            if revision > self.reserved {
                self.reserved = Revision(revision.0 + RESERVE);
                Frame::Reserve {
                    up_to: self.reserved,
                }
                .encode(&mut group.frames);
            }
            self.volatile = revision;
            self.unlogged
                .extend(events.iter().map(|event| Arc::from(event.key())));
        } else {
            Frame::txn(revision, &events, &self.unlogged).encode(&mut group.frames);
            group.logged = Some(revision);
            for event in &events {
                self.unlogged.remove(event.key());
            }
        }
        for event in &events {
            group
                .overlay
                .insert(Arc::from(event.key()), event.current.clone());
        }
        group.events.push(events);
        Ok(revision)
    }

    /// Makes a group durable, then visible, then answers.
    fn finish(&mut self, group: Group) {
        if !group.frames.is_empty()
            && self.failed.is_none()
            && let Err(error) = self.segment.append(&group.frames)
        {
            self.fail("write the log", &error);
        }
        if let Some(failed) = &self.failed {
            for (answer, _) in group.answers {
                // Whoever asked may have gone away; nobody is left to tell.
                let _ = answer.send(Err(failed.clone()));
            }
            for (answer, _) in group.compactions {
                let _ = answer.send(Err(failed.clone()));
            }
            return;
        }
        self.logged = group.logged.unwrap_or(self.logged);
        self.shared.written.fetch_add(
            group.frames.len() as u64,
            std::sync::atomic::Ordering::Relaxed,
        );
        let mut state = self.shared.state.write();
        for events in &group.events {
            state.apply(events);
        }
        for (_, to) in &group.compactions {
            state.compact(*to);
        }
        drop(state);
        for events in &group.events {
            self.shared.signals.announce(events);
        }
        for (answer, outcome) in group.answers {
            let _ = answer.send(outcome);
        }
        for (answer, _) in group.compactions {
            let _ = answer.send(Ok(()));
        }
        if self.segment.length() >= self.segment_limit {
            self.rotate();
        }
    }

    /// Begins a new segment and hands the full one over. A checkpoint that lags behind holds the writer up here rather than letting the log
    /// grow without bound.
    fn rotate(&mut self) {
        match Segment::create(&self.folder, self.logged) {
            Ok(next) => {
                let full = std::mem::replace(&mut self.segment, next);
                // The promise must outlive the segment it was made in.
                let mut reserve = Vec::new();
                Frame::Reserve {
                    up_to: self.reserved,
                }
                .encode(&mut reserve);
                if self.volatile > Revision(0)
                    && let Err(error) = self.segment.append(&reserve)
                {
                    self.fail("write the log", &error);
                }
                if self.finished.send(full.path().to_owned()).is_err() {
                    tracing::error!(
                        "the checkpoint thread is gone: the log grows until the next start"
                    );
                }
            }
            Err(error) => self.fail("begin a log segment", &error),
        }
    }

    fn close(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let state = self.shared.state.read();
        let revision = state.revision();
        let kept = volatile::save(&self.folder, &state, &self.unlogged, revision);
        drop(state);
        if let Err(error) = kept {
            tracing::warn!(%error, "volatile content is not kept over the restart");
        }
        let mut end = Vec::new();
        Frame::Close {
            revision,
            volatile: self.volatile,
        }
        .encode(&mut end);
        if let Err(error) = self.segment.append(&end) {
            self.fail("close the log", &error);
        }
    }

    fn fail(&mut self, what: &str, error: &std::io::Error) {
        tracing::error!(%error, "{what}: no more writes until the store is opened again");
        self.failed = Some(StoreError::Unavailable {
            reason: format!("{what}: {error}; writes have stopped"),
        });
    }
}
