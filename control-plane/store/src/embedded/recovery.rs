//! Opening: puts the state together from the tree and the log, and refuses when they do not fit. What was acknowledged is either all there or
//! the store does not open; it never comes up silently at an older state.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    frame::{Frame, Put},
    segment::{self, Segment},
    tree::Tree,
    volatile,
};
use crate::{
    error::StoreError, history::HistoryLimits, revision::Revision, state::State, watch::Event,
};

/// What opening found.
pub(super) struct Recovered {
    pub(super) state: State,
    /// The segment to go on with.
    pub(super) segment: Segment,
    /// Older segments, still to be checkpointed, oldest first.
    pub(super) closed: Vec<PathBuf>,
    /// The revision of the last transaction in the log.
    pub(super) logged: Revision,
    /// No volatile change happened after this revision.
    pub(super) volatile: Revision,
    /// Keys whose content came from [`volatile`] and is not in the log.
    pub(super) unlogged: BTreeSet<Arc<str>>,
}

/// Reads everything in `folder`.
///
/// # Errors
/// `Corrupt` when what is there cannot be the whole of what was acknowledged. `Unavailable` for I/O errors.
pub(super) fn recover(
    folder: &Path,
    tree: &Tree,
    limits: HistoryLimits,
) -> Result<Recovered, StoreError> {
    let io = |error: std::io::Error| StoreError::Unavailable {
        reason: format!("open {}: {error}", folder.display()),
    };
    let corrupt = |reason: String| StoreError::Corrupt { reason };
    let segments = segment::list(folder).map_err(io)?;
    let checkpoint = tree.revision()?;
    if segments.is_empty() {
        return match checkpoint {
            None => {
                tree.write(std::iter::empty(), Revision(0))?;
                tree.sync()?;
                let segment = Segment::create(folder, Revision(0)).map_err(io)?;
                let state = State::new([], Revision(0), limits);
                Ok(Recovered {
                    state,
                    segment,
                    closed: Vec::new(),
                    logged: Revision(0),
                    volatile: Revision(0),
                    unlogged: BTreeSet::new(),
                })
            }
            Some(revision) => Err(corrupt(format!(
                "{}: the log is gone (the checkpoint is at revision {revision})",
                folder.display()
            ))),
        };
    }
    let checkpoint = checkpoint.ok_or_else(|| {
        corrupt(format!(
            "{}: there is a log but no checkpoint",
            folder.display()
        ))
    })?;
    let records = tree.records()?;
    // A checkpoint cut short by a crash leaves records newer than its revision: events before them cannot be told any more.
    let newest_record = records
        .iter()
        .map(|record| record.modified)
        .max()
        .unwrap_or_default();
    let floor = checkpoint.max(newest_record).max(tree.written_to()?);
    let mut replay = Replay {
        state: State::new(records, checkpoint, limits),
        reserved: Revision(0),
        closed_at: None,
        last: None,
    };
    let mut resume = None;
    let newest = segments.len() - 1;
    for (index, path) in segments.iter().enumerate() {
        let contents = segment::read(path, index == newest)?;
        replay.begin(contents.base, checkpoint, path)?;
        for frame in contents.frames {
            replay.apply(frame, path)?;
        }
        if contents.torn {
            tracing::warn!(segment = %path.display(), end = contents.end, "dropped the torn end of the log");
        }
        resume = Some((path.clone(), contents.end));
    }
    let Some((newest_path, end)) = resume else {
        return Err(corrupt(format!("{}: the log is gone", folder.display())));
    };
    let Replay {
        mut state,
        reserved,
        closed_at,
        last,
    } = replay;
    state.compact(floor.min(state.revision()));
    let mut unlogged = BTreeSet::new();
    let last_volatile = match closed_at {
        Some((revision, last_volatile)) => {
            let kept = volatile::load(folder, revision)?;
            unlogged.extend(kept.iter().map(|put| Arc::clone(&put.key)));
            state.restore(kept.into_iter().map(|put| (put.key, put.record)), revision);
            last_volatile
        }
        // Whoever saw the revision of a lost volatile change must not see it again for another one.
        None if reserved > Revision(0) => {
            state.restore(std::iter::empty(), reserved.max(state.revision()));
            state.revision()
        }
        None => Revision(0),
    };
    // A history with holes is no history.
    state.compact(last_volatile);
    volatile::remove(folder).map_err(io)?;
    let mut closed = segments;
    closed.pop();
    let segment = Segment::resume(&newest_path, end).map_err(io)?;
    Ok(Recovered {
        state,
        segment,
        closed,
        logged: last.unwrap_or(checkpoint),
        volatile: last_volatile,
        unlogged,
    })
}

/// Applies frames in order.
struct Replay {
    state: State,
    reserved: Revision,
    /// Set while nothing followed an orderly close: the revision then, and that of the last volatile change.
    closed_at: Option<(Revision, Revision)>,
    /// The revision the log has led to so far; `None` before the first segment.
    last: Option<Revision>,
}

impl Replay {
    /// Checks that a segment goes on where the one before, or the checkpoint, ends.
    fn begin(
        &mut self,
        base: Revision,
        checkpoint: Revision,
        path: &Path,
    ) -> Result<(), StoreError> {
        match self.last {
            None if base > checkpoint => Err(StoreError::Corrupt {
                reason: format!(
                    "{}: begins after revision {base}, the checkpoint is at {checkpoint}",
                    path.display()
                ),
            }),
            Some(last) if base != last => Err(StoreError::Corrupt {
                reason: format!(
                    "{}: begins at revision {base}, the log before ends at {last}",
                    path.display()
                ),
            }),
            _ => {
                self.last = Some(base);
                Ok(())
            }
        }
    }

    fn apply(&mut self, frame: Frame, path: &Path) -> Result<(), StoreError> {
        if !matches!(frame, Frame::Close { .. }) {
            self.closed_at = None;
        }
        match frame {
            Frame::Txn { revision, puts } => {
                if self.last.is_some_and(|last| revision <= last) {
                    return Err(StoreError::Corrupt {
                        reason: format!("{}: revision {revision} out of order", path.display()),
                    });
                }
                self.last = Some(revision);
                // What the checkpoint already holds.
                let hidden = puts.iter().any(|put| put.hides_volatile);
                if revision > self.state.revision() {
                    let events: Vec<Event> = puts
                        .into_iter()
                        .map(|put| event(&self.state, put, revision))
                        .collect();
                    self.state.apply(&events);
                }
                if hidden {
                    self.state.compact(revision);
                }
            }
            Frame::Reserve { up_to } => self.reserved = self.reserved.max(up_to),
            Frame::Compact { to } => self.state.compact(to),
            Frame::Close { revision, volatile } => self.closed_at = Some((revision, volatile)),
        }
        Ok(())
    }
}

fn event(state: &State, put: Put, revision: Revision) -> Event {
    Event {
        revision,
        previous: state.get(&put.key).map(Arc::clone),
        current: put.record,
    }
}

/// Removes what a crash between writing aside and renaming left.
pub(super) fn tidy(folder: &Path) -> std::io::Result<()> {
    match fs::remove_file(folder.join("new-segment")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
