//! What an autoscaler recommended and did, as far back as its windows reach. Kept in memory only: after a restart it starts anew, as upstream.

use jiff::{SignedDuration, Timestamp};

/// Recommendations and changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    recommendations: Vec<(Timestamp, i32)>,
    /// Positive for more, negative for fewer.
    changes: Vec<(Timestamp, i32)>,
}

/// Nothing looks further back: the longest window and the longest period that validation lets through, an hour.
const REACH: SignedDuration = SignedDuration::from_hours(1);
/// A bound for what is kept. With a plan every second, each another than the one before, it covers a quarter of an hour; equal neighbours are one.
const LIMIT: usize = 1000;

impl History {
    /// Takes what there is for recommended where nothing else is known.
    pub fn begin(&mut self, now: Timestamp, replicas: i32) {
        if self.recommendations.is_empty() {
            self.recommend(now, replicas);
        }
    }

    /// Adds a recommendation.
    pub fn recommend(&mut self, now: Timestamp, replicas: i32) {
        prune(&mut self.recommendations, now);
        match self.recommendations.last_mut() {
            // Every window with the earlier one has this one.
            Some((at, same)) if *same == replicas => *at = now,
            _ => self.recommendations.push((now, replicas)),
        }
    }

    /// Adds a change of the number of replicas.
    pub fn change(&mut self, now: Timestamp, by: i32) {
        prune(&mut self.changes, now);
        self.changes.push((now, by));
    }

    /// The recommendations of the last `seconds`.
    pub fn recommended(&self, now: Timestamp, seconds: i32) -> impl Iterator<Item = i32> {
        within(&self.recommendations, now, seconds)
    }

    /// How many replicas were added in the last `seconds`.
    #[must_use]
    pub fn added(&self, now: Timestamp, seconds: i32) -> i32 {
        within(&self.changes, now, seconds)
            .filter(|by| *by > 0)
            .fold(0, i32::saturating_add)
    }

    /// How many replicas were removed in the last `seconds`.
    #[must_use]
    pub fn removed(&self, now: Timestamp, seconds: i32) -> i32 {
        within(&self.changes, now, seconds)
            .filter(|by| *by < 0)
            .fold(0, i32::saturating_sub)
    }
}

fn within(list: &[(Timestamp, i32)], now: Timestamp, seconds: i32) -> impl Iterator<Item = i32> {
    let window = SignedDuration::from_secs(i64::from(seconds));
    let recent = list
        .iter()
        .filter(move |(at, _)| now.duration_since(*at) < window);
    recent.map(|(_, value)| *value)
}

fn prune(list: &mut Vec<(Timestamp, i32)>, now: Timestamp) {
    list.retain(|(at, _)| now.duration_since(*at) < REACH);
    if list.len() >= LIMIT {
        list.drain(..=list.len() - LIMIT);
    }
}
