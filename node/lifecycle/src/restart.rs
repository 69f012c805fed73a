//! Back-off: when a container that ended may start again, and when a failed attempt is repeated. Arithmetic only.

use std::time::Duration;

use jiff::Timestamp;

/// The first delay. Kubernetes' value; half would double what a crash loop costs the node, double makes people wait.
const FIRST: Duration = Duration::from_secs(10);
/// The longest delay. Kubernetes' value.
const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran this long before it ended is not in a crash loop. Kubernetes' value, twice the longest delay.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The delay between a container's runs: none before the first restart, then 10 s doubling to 5 min, forgotten after 10 min of running
/// (upstream: `doBackOff` in the kubelet with `flowcontrol.Backoff`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestartBackOff {
    /// What the next restart has to wait, and when the last one was.
    entry: Option<(Duration, Timestamp)>,
}

impl RestartBackOff {
    /// When a container that finished then may start again.
    #[must_use]
    pub fn ready_at(&self, finished: Timestamp) -> Timestamp {
        match self.entry {
            Some((delay, restarted)) if !forgiven(restarted, finished) => after(finished, delay),
            _ => finished,
        }
    }

    /// Takes note of a restart.
    pub fn restarted(&mut self, finished: Timestamp, now: Timestamp) {
        let delay = match self.entry {
            Some((delay, restarted)) if !forgiven(restarted, finished) => doubled(delay),
            _ => FIRST,
        };
        self.entry = Some((delay, now));
    }

    /// How long the next restart waits, for messages.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.entry.map_or(Duration::ZERO, |(delay, _)| delay)
    }
}

/// The delay between attempts at something that fails: 10 s doubling to 5 min, forgotten with the first success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryBackOff {
    delay: Option<Duration>,
}

impl RetryBackOff {
    /// Takes note of a failure and says when to try again.
    pub fn failed(&mut self, now: Timestamp) -> Timestamp {
        let delay = self.delay.map_or(FIRST, doubled);
        self.delay = Some(delay);
        after(now, delay)
    }

    /// Takes note of a success.
    pub fn succeeded(&mut self) {
        self.delay = None;
    }
}

/// `at` and `wait` later; the end of time when there is no later.
#[must_use]
pub fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// From `now` to `then`; zero when it is past.
#[must_use]
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

fn doubled(delay: Duration) -> Duration {
    delay.saturating_mul(2).min(LONGEST)
}

fn forgiven(restarted: Timestamp, finished: Timestamp) -> bool {
    until(restarted, finished) > FORGIVEN_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_double_to_five_minutes() {
        let mut backoff = RestartBackOff::default();
        let mut now = at(1_000);
        let mut waits = Vec::new();
        for _ in 0..8 {
            // Each run ends a second after it began.
            let finished = after(now, Duration::from_secs(1));
            let ready = backoff.ready_at(finished);
            waits.push(until(finished, ready).as_secs());
            backoff.restarted(finished, ready);
            now = ready;
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_are_forgiven() {
        let mut backoff = RestartBackOff::default();
        backoff.restarted(at(0), at(0));
        backoff.restarted(at(10), at(20));
        assert_eq!(
            backoff.ready_at(at(620)),
            at(640),
            "ten minutes are not more than ten"
        );
        assert_eq!(backoff.ready_at(at(621)), at(621));
        backoff.restarted(at(621), at(621));
        assert_eq!(backoff.delay(), FIRST);
    }

    #[test]
    fn retries_double_until_one_succeeds() {
        let mut backoff = RetryBackOff::default();
        assert_eq!(backoff.failed(at(0)), at(10));
        assert_eq!(backoff.failed(at(10)), at(30));
        for _ in 0..10 {
            backoff.failed(at(0));
        }
        assert_eq!(backoff.failed(at(0)), at(300));
        backoff.succeeded();
        assert_eq!(backoff.failed(at(0)), at(10));
    }
}
