//! Opening: puts the state together from the tree and the log, and refuses when they do not fit. What was acknowledged is either all there or
//! the store does not open; it never comes up silently at an older state.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    entry::{Entry, Promises, Put},
    segment::{self, Contents},
    tree::Tree,
    volatile::{self, Kept},
};
use crate::{
    error::StoreError, history::HistoryLimits, revision::Revision, state::State, watch::Event,
};

/// What opening found.
pub(super) struct Recovered {
    pub(super) state: State,
    /// The segment to go on with.
    pub(super) newest: (PathBuf, Contents),
    /// Older segments, oldest first, with the revision of the last transaction up to their end.
    pub(super) full: VecDeque<(PathBuf, Revision)>,
    /// The revision of the last transaction in the log.
    pub(super) logged: Revision,
    /// Prefixes under which volatile changes happen, with the revision up to which such were lost.
    pub(super) prefixes: BTreeMap<Arc<str>, Revision>,
    /// Volatile changes up to this revision were lost by a crash just now, and the log does not say so yet.
    pub(super) lost: Option<Revision>,
    /// The revisions in history whose changes are volatile.
    pub(super) volatile: VecDeque<Revision>,
    /// Keys whose present content the log does not hold.
    pub(super) unlogged: BTreeSet<Arc<str>>,
    /// Those that were such until a durable change at that revision.
    pub(super) covered: VecDeque<(Revision, Arc<str>)>,
}

/// Reads everything in `folder`, in which there is at least one segment.
///
/// # Errors
/// `Corrupt` when what is there cannot be the whole of what was acknowledged. `Unavailable` for I/O errors.
pub(super) fn recover(
    folder: &Path,
    tree: &Tree,
    limits: HistoryLimits,
) -> Result<Recovered, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt {
        reason: format!("{}: {what}", folder.display()),
    };
    let checkpoint = tree
        .revision()?
        .ok_or_else(|| corrupt("there is a log but no checkpoint"))?;
    let paths = segment::list(folder).map_err(|error| StoreError::Unavailable {
        reason: format!("open {}: {error}", folder.display()),
    })?;
    let mut segments = Vec::with_capacity(paths.len());
    let mut last = None;
    let mut onward = false;
    for path in paths {
        let contents = segment::read(&path)?;
        follows(&path, contents.base, last, checkpoint)?;
        last = Some(contents.last());
        onward = contents.entries.last() == Some(&Entry::Onward);
        segments.push((path, contents));
    }
    if onward {
        return Err(corrupt("the log goes on in a segment that is gone"));
    }
    let kept = match segments.last().and_then(|(_, newest)| closing(newest)) {
        Some(named) => volatile::load(folder, named)?,
        None => None,
    };
    let records = tree.records()?;
    let mut replay = Replay::new(State::new(records, checkpoint, limits), kept);
    // A checkpoint cut short by a crash leaves records newer than its revision: events before them cannot be told any more.
    let untold = tree.written_to()?;
    let mut full = VecDeque::new();
    let mut newest = None;
    for (path, contents) in segments {
        if contents.torn {
            tracing::warn!(segment = %path.display(), end = contents.end, "dropped the torn end of the log");
        }
        for entry in &contents.entries {
            replay.apply(entry, &path)?;
        }
        if let Some((path, contents)) = newest.replace((path, contents)) {
            let last = Contents::last(&contents);
            full.push_back((path, last));
        }
    }
    let newest = newest.ok_or_else(|| corrupt("the log is gone"))?;
    let logged = replay.logged.max(checkpoint);
    let mut recovered = replay.finish(newest, full, logged);
    let revision = recovered.state.revision();
    if revision < untold {
        return Err(corrupt(&format!(
            "the log ends at revision {revision}, the checkpoint goes to {untold}"
        )));
    }
    recovered.state.compact(untold);
    Ok(recovered)
}

/// Checks that a segment goes on where the one before, or the checkpoint, ends.
fn follows(
    path: &Path,
    base: Revision,
    last: Option<Revision>,
    checkpoint: Revision,
) -> Result<(), StoreError> {
    let reason = match last {
        None if base > checkpoint => {
            format!("begins after revision {base}, the checkpoint is at {checkpoint}")
        }
        Some(last) if base != last => {
            format!("begins after revision {base}, the log before ends at {last}")
        }
        _ => return Ok(()),
    };
    Err(StoreError::Corrupt {
        reason: format!("{}: {reason}", path.display()),
    })
}

/// The number of the file that was kept, when the log ends with an orderly close.
fn closing(newest: &Contents) -> Option<u64> {
    match newest.entries.last() {
        Some(Entry::Close { kept, .. }) => Some(*kept),
        _ => None,
    }
}

/// Applies entries in order, with the kept volatile changes between them.
struct Replay {
    state: State,
    /// `None` once they are used up, or when there are none.
    kept: Option<Kept>,
    /// Whether the log's end named a file that was there.
    whole: bool,
    /// Volatile changes may have taken revisions up to here, in the run that is being replayed.
    reserved: Revision,
    prefixes: BTreeMap<Arc<str>, Revision>,
    logged: Revision,
    volatile: VecDeque<Revision>,
    unlogged: BTreeSet<Arc<str>>,
    covered: VecDeque<(Revision, Arc<str>)>,
    /// History up to here was forgotten on purpose. Applied at the end, when volatile changes are in their places.
    compacted: Revision,
    /// Set while nothing followed an orderly close.
    closed_at: Option<Revision>,
}

impl Replay {
    fn new(state: State, kept: Option<Kept>) -> Self {
        Self {
            state,
            whole: kept.is_some(),
            unlogged: kept
                .as_ref()
                .map(|kept| kept.unlogged.clone())
                .unwrap_or_default(),
            covered: kept
                .as_ref()
                .map(|kept| kept.covered.clone())
                .unwrap_or_default(),
            kept,
            reserved: Revision(0),
            prefixes: BTreeMap::new(),
            logged: Revision(0),
            volatile: VecDeque::new(),
            compacted: Revision(0),
            closed_at: None,
        }
    }

    fn apply(&mut self, entry: &Entry, path: &Path) -> Result<(), StoreError> {
        if !matches!(
            entry,
            Entry::Close { .. } | Entry::Acknowledged | Entry::Onward
        ) {
            self.closed_at = None;
        }
        match entry {
            Entry::Txn { revision, puts } => {
                if *revision <= self.logged {
                    return Err(StoreError::Corrupt {
                        reason: format!("{}: revision {revision} out of order", path.display()),
                    });
                }
                self.logged = *revision;
                // What the checkpoint already holds is known.
                if *revision > self.state.revision() {
                    self.catch_up(*revision);
                    self.change(*revision, puts);
                }
            }
            Entry::Reserve { up_to } => self.reserved = self.reserved.max(*up_to),
            Entry::Compact { to } => self.compacted = self.compacted.max(*to),
            Entry::Close { revision, .. } => {
                self.reserved = Revision(0);
                self.closed_at = Some(*revision);
            }
            Entry::Begin(promises) => self.begin(promises),
            Entry::Volatile { prefix } => {
                self.prefixes.entry(Arc::clone(prefix)).or_default();
            }
            Entry::Lost { up_to } => self.lose(*up_to),
            Entry::Acknowledged | Entry::Onward => {}
        }
        Ok(())
    }

    fn begin(&mut self, promises: &Promises) {
        self.reserved = self.reserved.max(promises.reserved);
        self.compacted = self.compacted.max(promises.compacted);
        for (prefix, lost) in &promises.volatile {
            let known = self.prefixes.entry(Arc::clone(prefix)).or_default();
            *known = (*known).max(*lost);
            self.state.lose(prefix, *lost);
        }
    }

    fn lose(&mut self, up_to: Revision) {
        for lost in self.prefixes.values_mut() {
            *lost = up_to;
        }
        self.state.skip(self.prefixes.keys(), up_to);
        self.reserved = Revision(0);
    }

    /// Puts the kept volatile changes before `revision` in place.
    fn catch_up(&mut self, revision: Revision) {
        let Some(mut kept) = self.kept.take() else {
            return;
        };
        if revision <= kept.floor {
            self.kept = Some(kept);
            return;
        }
        let base = std::mem::take(&mut kept.base);
        if !base.is_empty() || kept.floor > self.state.revision() {
            let content = base.into_iter().map(|put| (put.key, put.record));
            self.state.overlay(content, kept.floor);
        }
        while let Some((at, puts)) = kept.txns.pop_front_if(|(at, _)| *at < revision) {
            self.volatile.push_back(at);
            self.change(at, &puts);
        }
        self.kept = Some(kept);
    }

    fn change(&mut self, revision: Revision, puts: &[Put]) {
        let events: Vec<Event> = puts
            .iter()
            .map(|put| Event {
                revision,
                previous: self.state.get(&put.key).map(Arc::clone),
                current: put.record.clone(),
            })
            .collect();
        self.state.apply(&events);
    }

    fn finish(
        mut self,
        newest: (PathBuf, Contents),
        full: VecDeque<(PathBuf, Revision)>,
        logged: Revision,
    ) -> Recovered {
        let mut lost = None;
        match self.closed_at {
            Some(revision) if self.whole => {
                self.catch_up(Revision(u64::MAX));
                self.state.skip([], revision);
            }
            // Closed in order, but what was kept is gone.
            Some(revision) if !self.prefixes.is_empty() => lost = Some(revision),
            Some(revision) => self.state.skip([], revision),
            // Whoever saw the revision of a lost volatile change must not see it again for another one.
            None if self.reserved > Revision(0) => {
                lost = Some(self.reserved.max(self.state.revision()));
            }
            None => {}
        }
        if let Some(up_to) = lost {
            self.unlogged.clear();
            self.covered.clear();
            self.lose(up_to);
        }
        self.state.compact(self.compacted);
        Recovered {
            state: self.state,
            newest,
            full,
            logged,
            prefixes: self.prefixes,
            lost,
            volatile: self.volatile,
            unlogged: self.unlogged,
            covered: self.covered,
        }
    }
}
