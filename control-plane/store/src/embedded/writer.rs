//! The one thread that changes the store: takes requests in order, decides them against the state, writes what a group of them changed in one
//! append, and only then makes it visible and answers. Readers never wait for the disk.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    backlog::{Backlog, Finished},
    entry::{Entry, Promises},
    segment::{AppendError, Segment},
    volatile::{self, Kept},
};
use crate::{
    error::StoreError,
    metrics::gauge,
    record::Record,
    revision::Revision,
    txn::{Durability, Op},
    watch::Event,
};

/// The most requests written in one append. Bounds the latency that a group adds.
const GROUP: usize = 1024;
/// A group is full at this size. Bounds what one more transaction can make of it, see [`super::frame`].
const GROUP_BYTES: usize = 4 << 20;
/// How many revisions are set aside for volatile changes at a time: one synced write for so many of them.
const RESERVE: u64 = 10_000;
/// The most prefixes that volatile changes are told apart by; one more, and they all count as one.
const PREFIXES: usize = 64;

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
    pub(super) segment_bytes: u64,
    /// Full segments whose history may still be asked for, oldest first.
    pub(super) full: VecDeque<Finished>,
    /// Those whose history is gone.
    pub(super) backlog: Arc<Backlog>,
    /// The revision of the last transaction in the log.
    pub(super) logged: Revision,
    /// Volatile changes may take revisions up to here; 0 when the log has no word of any in this run.
    pub(super) reserved: Revision,
    /// The prefixes they are announced under, with the revision up to which such were lost.
    pub(super) prefixes: BTreeMap<Arc<str>, Revision>,
    /// The revisions in history whose changes are volatile.
    pub(super) volatile: VecDeque<Revision>,
    /// Keys whose present content the log does not hold.
    pub(super) unlogged: BTreeSet<Arc<str>>,
    /// Those that were such until a durable change at that revision, which history still has.
    pub(super) covered: VecDeque<(Revision, Arc<str>)>,
    /// Set by an error after which nobody knows what is on the disk: nothing is written any more.
    pub(super) failed: Option<StoreError>,
}

/// A group of decided requests on its way to the disk.
#[derive(Default)]
struct Group {
    payload: Vec<u8>,
    events: Vec<Vec<Event>>,
    overlay: BTreeMap<Arc<str>, Option<Arc<Record>>>,
    answers: Vec<(Answer<Revision>, Result<Revision, StoreError>)>,
    compactions: Vec<(Answer<()>, Revision)>,
    /// What the writer knows once the group is written. Before that it must not.
    logged: Option<Revision>,
    reserved: Option<Revision>,
    prefixes: Vec<Arc<str>>,
    volatile: Vec<Revision>,
    /// The changed keys in order, and whether the change is one that the log does not hold.
    changed: Vec<(Revision, Arc<str>, bool)>,
}

impl Writer {
    /// Serves requests until [`Request::Close`] or until all senders are gone.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let floor = self.shared.state.read().floor();
        self.release(floor);
        let mut batch = Vec::with_capacity(GROUP);
        let mut open = true;
        while open && requests.blocking_recv_many(&mut batch, GROUP) > 0 {
            let mut group = Group::default();
            for request in batch.drain(..) {
                match request {
                    Request::Commit { ops, answer } => {
                        let outcome = self.decide(&ops, &mut group);
                        group.answers.push((answer, outcome));
                    }
                    Request::Compact { to, answer } => {
                        let newest = group.newest(self.shared.state.read().revision());
                        let to = to.min(newest);
                        Entry::Compact { to }.encode(&mut group.payload);
                        group.compactions.push((answer, to));
                    }
                    Request::Close => open = false,
                }
                if group.payload.len() >= GROUP_BYTES {
                    self.finish(std::mem::take(&mut group));
                }
            }
            let wrote = !group.payload.is_empty();
            self.finish(group);
            if wrote && requests.is_empty() {
                self.acknowledge();
            }
        }
        self.close();
        self.backlog.close();
    }

    /// Decides one transaction on top of the group's earlier ones.
    fn decide(&self, ops: &[Op], group: &mut Group) -> Result<Revision, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let state = self.shared.state.read();
        let newest = group.newest(state.revision());
        let revision = newest.next();
        let events = state.plan(&group.overlay, ops, revision)?;
        drop(state);
        if events.is_empty() {
            return Ok(newest);
        }
        let volatile = ops.iter().all(|op| op.durability == Durability::Volatile);
        if volatile {
            self.announce(&events, revision, group);
            group.volatile.push(revision);
        } else {
            Entry::txn(revision, &events).encode(&mut group.payload);
            group.logged = Some(revision);
        }
        for event in &events {
            let key = event.shared_key();
            group.changed.push((revision, Arc::clone(&key), volatile));
            group.overlay.insert(key, event.current.clone());
        }
        group.events.push(events);
        Ok(revision)
    }

    /// Has the log say what it must about a volatile change before it happens: that it may happen there, and that its revision is taken.
    fn announce(&self, events: &[Event], revision: Revision, group: &mut Group) {
        for event in events {
            let mut prefix = volatile::prefix_of(event.key());
            let known = |prefix: &str| {
                self.prefixes.contains_key(prefix) || group.prefixes.iter().any(|p| **p == *prefix)
            };
            if self.prefixes.len() + group.prefixes.len() >= PREFIXES && !known(prefix) {
                prefix = "";
            }
            if !known(prefix) {
                let prefix: Arc<str> = Arc::from(prefix);
                Entry::Volatile {
                    prefix: Arc::clone(&prefix),
                }
                .encode(&mut group.payload);
                group.prefixes.push(prefix);
            }
        }
        if revision > group.reserved.unwrap_or(self.reserved) {
            let up_to = Revision(revision.0.saturating_add(RESERVE));
            Entry::Reserve { up_to }.encode(&mut group.payload);
            group.reserved = Some(up_to);
        }
    }

    /// Makes a group durable, then visible, then answers.
    fn finish(&mut self, mut group: Group) {
        if !group.payload.is_empty()
            && let Err(refused) = self.write(&mut group)
        {
            // Whoever asked may have gone away; nobody is left to tell.
            for (answer, _) in group.answers {
                // Also those that were refused: what they were refused for may be in this group.
                let _ = answer.send(Err(refused.clone()));
            }
            for (answer, _) in group.compactions {
                let _ = answer.send(Err(refused.clone()));
            }
            return;
        }
        self.remember(&mut group);
        let mut state = self.shared.state.write();
        for events in &group.events {
            state.apply(events);
        }
        for (_, to) in &group.compactions {
            state.compact(*to);
        }
        let (floor, revision) = (state.floor(), state.revision());
        let (events, bytes) = state.history().size();
        drop(state);
        for events in &group.events {
            self.shared.signals.announce(events);
        }
        let metrics = &self.shared.metrics;
        metrics.revision.set(gauge(revision.0));
        metrics.history_events.set(gauge(events));
        metrics.history_bytes.set(gauge(bytes));
        metrics.transactions.inc_by(group.events.len() as u64);
        for (answer, outcome) in group.answers {
            if matches!(outcome, Err(StoreError::Conflict { .. })) {
                metrics.conflicts.inc();
            }
            let _ = answer.send(outcome);
        }
        for (answer, _) in group.compactions {
            let _ = answer.send(Ok(()));
        }
        self.release(floor);
    }

    /// Takes over what holds now that the group is written.
    fn remember(&mut self, group: &mut Group) {
        self.logged = group.logged.unwrap_or(self.logged);
        self.reserved = group.reserved.unwrap_or(self.reserved);
        for prefix in group.prefixes.drain(..) {
            self.prefixes.entry(prefix).or_default();
        }
        self.volatile.extend(group.volatile.drain(..));
        for (revision, key, volatile) in group.changed.drain(..) {
            if volatile {
                self.unlogged.insert(key);
            } else if self.unlogged.remove(&key) {
                self.covered.push_back((revision, key));
            }
        }
    }

    /// Appends the group's entries to the log. On an error nothing of the group has happened.
    fn write(&mut self, group: &mut Group) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        // Volatile content of the run before is lost if this run crashes. The log must say that there was some.
        if self.reserved == Revision(0) && group.reserved.is_none() && !self.volatile_is_none() {
            let up_to = self.shared.state.read().revision();
            let mut owed = Vec::new();
            Entry::Reserve { up_to }.encode(&mut owed);
            owed.append(&mut group.payload);
            group.payload = owed;
            group.reserved = Some(up_to);
        }
        self.backlog.room().map_err(|why| {
            self.shared.metrics.stopped.set(1);
            stopped(&why, "they go on by themselves when it succeeds")
        })?;
        if !self.segment.has_room(group.payload.len()) {
            self.rotate(group.payload.len())?;
        }
        match self.segment.append(&group.payload) {
            Ok(bytes) => {
                self.shared.metrics.logged(bytes);
                self.shared.metrics.syncs.inc();
                self.shared.metrics.stopped.set(0);
                Ok(())
            }
            Err(AppendError::Write(error)) if is_full(&error) => Err(self.full(&error)),
            Err(error) => Err(self.fail("write the log", &error.to_string())),
        }
    }

    fn volatile_is_none(&self) -> bool {
        self.unlogged.is_empty() && self.volatile.is_empty() && self.covered.is_empty()
    }

    /// No space: nothing was acknowledged, what was written in part is erased, and the next request may find room again.
    fn full(&mut self, error: &io::Error) -> StoreError {
        if let Err(error) = self.segment.erase_tail() {
            return self.fail("erase what was written in part", &error.to_string());
        }
        tracing::error!(%error, "the disk is full: writes are refused until there is room");
        self.shared.metrics.stopped.set(1);
        stopped(
            &format!("write the log: {error}"),
            "free some space; writes then go on by themselves",
        )
    }

    /// Begins a new segment with room for `payload`. The full one waits until its history is gone.
    fn rotate(&mut self, payload: usize) -> Result<(), StoreError> {
        let promises = Promises {
            reserved: self.reserved,
            compacted: self.shared.state.read().floor(),
            volatile: self
                .prefixes
                .iter()
                .map(|(prefix, lost)| (Arc::clone(prefix), *lost))
                .collect(),
        };
        let room = self.segment_bytes.max(payload as u64 + 64);
        let created = Segment::create(&self.folder, self.logged, &promises, room);
        let next = match created {
            Ok(next) => next,
            Err(error) if is_full(&error) => {
                self.shared.metrics.stopped.set(1);
                return Err(stopped(
                    &format!("begin a log segment: {error}"),
                    "free some space; writes then go on by themselves",
                ));
            }
            Err(error) => return Err(self.fail("begin a log segment", &error.to_string())),
        };
        let full = std::mem::replace(&mut self.segment, next);
        // One without transactions was replaced under its name.
        if full.base() < self.logged {
            if let Err(error) = full.note(&Entry::Onward) {
                tracing::warn!(%error, "the full segment does not name its successor");
            }
            self.full.push_back((full.path().to_owned(), self.logged));
        }
        Ok(())
    }

    /// Hands segments whose history is gone to the checkpoint, and forgets what was remembered of that history.
    fn release(&mut self, floor: Revision) {
        while self.volatile.pop_front_if(|at| *at <= floor).is_some() {}
        while self.covered.pop_front_if(|(at, _)| *at <= floor).is_some() {}
        while let Some(segment) = self.full.pop_front_if(|(_, last)| *last <= floor) {
            self.backlog.push(segment);
        }
        self.shared.metrics.backlog.set(gauge(self.backlog.len()));
    }

    /// Marks what was written as acknowledged: a damaged frame before the mark can't be mistaken for a torn one. Without a sync, when nothing
    /// else is waiting to be written.
    fn acknowledge(&mut self) {
        if self.failed.is_some() {
            return;
        }
        match self.segment.note(&Entry::Acknowledged) {
            Ok(bytes) => self.shared.metrics.logged(bytes),
            Err(error) if is_full(&error) => {}
            Err(error) => {
                self.fail("write the log", &error.to_string());
            }
        }
    }

    fn close(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let state = self.shared.state.read();
        let revision = state.revision();
        let kept = Kept::of(&state, &self.volatile, &self.unlogged, &self.covered);
        drop(state);
        let kept = match volatile::save(&self.folder, &kept) {
            Ok((named, bytes)) => {
                self.shared.metrics.kept(bytes);
                named
            }
            Err(error) => {
                tracing::warn!(%error, "volatile content is not kept over the restart");
                0
            }
        };
        let mut end = Vec::new();
        Entry::Close { revision, kept }.encode(&mut end);
        if !self.segment.has_room(end.len()) && self.rotate(end.len()).is_err() {
            return;
        }
        match self.segment.append(&end) {
            Ok(bytes) => self.shared.metrics.logged(bytes),
            Err(error) => {
                self.fail("close the log", &error.to_string());
            }
        }
    }

    fn fail(&mut self, what: &str, error: &str) -> StoreError {
        tracing::error!(%error, "{what}: no more writes until the store is opened again");
        self.shared.metrics.stopped.set(1);
        let failed = stopped(
            &format!("{what}: {error}"),
            "what is on the disk is uncertain; check the disk, then start again",
        );
        self.failed = Some(failed.clone());
        failed
    }
}

impl Group {
    /// The revision of the group's last transaction, or the store's.
    fn newest(&self, stored: Revision) -> Revision {
        self.events
            .last()
            .and_then(|events| events.first())
            .map_or(stored, |event| event.revision)
    }
}

/// Whether an error says that there is no space, which passes.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn stopped(what: &str, remedy: &str) -> StoreError {
    StoreError::Unavailable {
        reason: format!("{what}; writes have stopped: {remedy}"),
    }
}
