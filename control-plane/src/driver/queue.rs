//! Which keys of one controller are to be planned, and when. A pure state machine: who calls it brings the time. A key is in it once, however often it
//! changes, and is never given out again before it was finished.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use coracle_api::names::ObjectKey;
use tokio::time::Instant;

use super::backoff;

/// A change of something that keeps failing makes it try again after this time at the latest. Without the wait, a plan whose failure shows in a status
/// would be woken by its own status for ever; with a longer one, what a person has just repaired would stay broken noticeably long.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// What is to become of a key that was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It went well. It is given out again when it changes, and at that time at the latest.
    Wait(Option<Instant>),
    /// It went well, and there is more to do.
    Again,
    /// It did not: it is given out again after the back-off, and at that time at the latest.
    Retry(Option<Instant>),
}

/// The keys of one controller that need attention now or later. Holds nothing of others, so that it is no larger than what goes on.
#[derive(Debug, Default)]
pub struct Queue {
    ready: VecDeque<ObjectKey>,
    entries: BTreeMap<ObjectKey, Entry>,
    timers: BTreeSet<(Instant, ObjectKey)>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// Failures in a row.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for a time.
    Waiting(Instant),
    /// Is in the line.
    Ready,
    /// Was given out; `changed` since then.
    Working { changed: bool },
}

impl Queue {
    /// Notes that something about a key has changed.
    pub fn add(&mut self, key: ObjectKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else {
            self.line_up(key, 0);
            return;
        };
        match &mut entry.state {
            State::Ready => {}
            State::Working { changed } => *changed = true,
            State::Waiting(at) => {
                let failures = entry.failures;
                if failures == 0 {
                    self.timers.remove(&(*at, key.clone()));
                    self.line_up(key, failures);
                    return;
                }
                let due = now + backoff::OF_KEYS.after(failures).min(IMPATIENCE);
                if due < *at {
                    self.timers.remove(&(*at, key.clone()));
                    self.wait(key, due, failures);
                }
            }
        }
    }

    /// Gives out the next key. It is not given out again before it is finished.
    pub fn take(&mut self, now: Instant) -> Option<ObjectKey> {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, key)) = self.timers.pop_first() else {
                break;
            };
            let failures = self.entries.get(&key).map_or(0, |entry| entry.failures);
            self.line_up(key, failures);
        }
        let key = self.ready.pop_front()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = State::Working { changed: false };
        }
        Some(key)
    }

    /// Takes a key back that was given out. What was not given out is not touched.
    pub fn finish(&mut self, key: ObjectKey, next: Next, now: Instant) {
        let Some(entry) = self.entries.get(&key) else {
            return;
        };
        let State::Working { changed } = entry.state else {
            return;
        };
        let failures = entry.failures;
        match next {
            Next::Again => self.line_up(key, 0),
            Next::Wait(_) if changed => self.line_up(key, 0),
            Next::Wait(Some(at)) => self.wait(key, at, 0),
            Next::Wait(None) => {
                self.entries.remove(&key);
            }
            Next::Retry(at) => {
                let failures = failures.saturating_add(1);
                let mut delay = backoff::OF_KEYS.after(failures);
                if changed {
                    delay = delay.min(IMPATIENCE);
                }
                let due = at.map_or(now + delay, |at| at.min(now + delay));
                self.wait(key, due, failures);
            }
        }
    }

    /// When a key that waits becomes due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// How many keys are in the line.
    #[must_use]
    pub fn n_ready(&self) -> usize {
        self.ready.len()
    }

    /// How often in a row a key has failed.
    #[must_use]
    pub fn failures(&self, key: &ObjectKey) -> u32 {
        self.entries.get(key).map_or(0, |entry| entry.failures)
    }

    fn line_up(&mut self, key: ObjectKey, failures: u32) {
        let entry = Entry {
            state: State::Ready,
            failures,
        };
        self.entries.insert(key.clone(), entry);
        self.ready.push_back(key);
    }

    fn wait(&mut self, key: ObjectKey, until: Instant, failures: u32) {
        let entry = Entry {
            state: State::Waiting(until),
            failures,
        };
        self.entries.insert(key.clone(), entry);
        self.timers.insert((until, key));
    }
}

#[cfg(test)]
mod tests;
