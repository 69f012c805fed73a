//! Probes: when one is due and what its answers mean. How a probe is carried out is the executor's business.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Probe;

use crate::restart::after;

/// A readiness probe that has not passed yet is repeated after this long, then twice as long and so on up to its period, so that a module that
/// listens a moment after it started is not kept out of service for a whole period. Half would probe most modules once more for nothing.
const EAGER: Duration = Duration::from_millis(50);

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Whether the container has started; the others wait for it.
    Startup,
    /// Whether the container must be restarted.
    Liveness,
    /// Whether the container takes traffic.
    Readiness,
}

impl Kind {
    /// As messages begin with it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// A probe's numbers, with Kubernetes' defaults for those that are not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the container's start to the first probe.
    pub initial_delay: Duration,
    /// From one probe to the next.
    pub period: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Successes in a row that make it pass.
    pub success_threshold: u32,
    /// Failures in a row that make it fail.
    pub failure_threshold: u32,
}

impl Settings {
    /// Reads them from the API's probe.
    #[must_use]
    pub fn of(probe: &Probe) -> Self {
        let seconds = |given: Option<i32>, or: u64| {
            let given = given.and_then(|seconds| u64::try_from(seconds).ok());
            Duration::from_secs(given.filter(|seconds| *seconds > 0).unwrap_or(or))
        };
        let count = |given: Option<i32>, or: u32| {
            let given = given.and_then(|count| u32::try_from(count).ok());
            given.filter(|count| *count > 0).unwrap_or(or)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
        }
    }
}

/// What an answer led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet: a threshold was not reached, or the probe passes or fails as before.
    Unchanged,
    /// It passes now.
    Passes,
    /// It fails now: the threshold was reached.
    Fails,
}

/// One probe of one run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prober {
    settings: Settings,
    kind: Kind,
    next: Timestamp,
    /// A probe is out and not answered.
    waits: bool,
    successes: u32,
    failures: u32,
    passes: bool,
    /// Probes sent before the first one passed.
    attempts: u32,
}

impl Prober {
    /// A probe of a container that started then.
    #[must_use]
    pub fn new(kind: Kind, settings: Settings, started: Timestamp) -> Self {
        Self {
            settings,
            kind,
            next: after(started, settings.initial_delay),
            waits: false,
            successes: 0,
            failures: 0,
            // Only liveness is assumed.
            passes: kind == Kind::Liveness,
            attempts: 0,
        }
    }

    /// Whether it passes: its last threshold reached was the one of success.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.passes
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// When the next probe is due; nothing while one is out.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        (!self.waits).then_some(self.next)
    }

    /// Takes note that a probe is sent.
    pub fn sent(&mut self, now: Timestamp) {
        self.waits = true;
        self.next = after(now, self.pause());
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Whether a failure is to be told: not while the container is merely given its first chance.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        !self.is_eager() || self.pause() >= self.settings.period
    }

    /// Takes note of an answer.
    pub fn answered(&mut self, success: bool) -> Outcome {
        self.waits = false;
        if success {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            if self.successes >= self.settings.success_threshold && !self.passes {
                self.passes = true;
                return Outcome::Passes;
            }
            return Outcome::Unchanged;
        }
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        // A startup probe never passed before, so that its failing is no change of `passes`.
        if self.failures >= self.settings.failure_threshold
            && (self.passes || self.kind == Kind::Startup)
        {
            self.passes = false;
            return Outcome::Fails;
        }
        Outcome::Unchanged
    }

    fn is_eager(&self) -> bool {
        self.kind == Kind::Readiness && !self.passes && self.successes == 0
    }

    fn pause(&self) -> Duration {
        if !self.is_eager() {
            return self.settings.period;
        }
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        EAGER.saturating_mul(factor).min(self.settings.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn settings() -> Settings {
        Settings::of(&Probe::default())
    }

    #[test]
    fn numbers_that_are_not_given_are_upstreams() {
        let settings = settings();
        assert_eq!(settings.period, Duration::from_secs(10));
        assert_eq!(settings.timeout, Duration::from_secs(1));
        assert_eq!(
            (settings.success_threshold, settings.failure_threshold),
            (1, 3)
        );
    }

    #[test]
    fn liveness_fails_after_three_failures_in_a_row() {
        let mut prober = Prober::new(Kind::Liveness, settings(), at(0));
        assert!(prober.passes());
        let answers = [false, false, true, false, false, false];
        let outcomes: Vec<_> = answers.map(|success| prober.answered(success)).to_vec();
        assert_eq!(outcomes.last(), Some(&Outcome::Fails));
        assert!(
            outcomes[..5]
                .iter()
                .all(|outcome| *outcome == Outcome::Unchanged)
        );
    }

    #[test]
    fn readiness_needs_its_threshold_of_successes_each_time() {
        let settings = Settings {
            success_threshold: 2,
            failure_threshold: 1,
            ..settings()
        };
        let mut prober = Prober::new(Kind::Readiness, settings, at(0));
        assert!(!prober.passes());
        assert_eq!(prober.answered(true), Outcome::Unchanged);
        assert_eq!(prober.answered(true), Outcome::Passes);
        assert_eq!(prober.answered(false), Outcome::Fails);
        assert_eq!(prober.answered(true), Outcome::Unchanged);
        assert_eq!(prober.answered(true), Outcome::Passes);
    }

    #[test]
    fn readiness_is_eager_until_it_passes_and_then_keeps_its_period() {
        let mut prober = Prober::new(Kind::Readiness, settings(), at(0));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            prober.sent(now);
            assert_eq!(prober.due_at(), None, "one at a time");
            prober.answered(false);
            let next = prober.due_at().unwrap();
            pauses.push(next.as_millisecond() - now.as_millisecond());
            now = next;
        }
        assert_eq!(
            pauses,
            [50, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        assert!(prober.is_notable());
        prober.sent(now);
        prober.answered(true);
        prober.sent(now);
        prober.answered(true);
        assert_eq!(prober.due_at(), Some(after(now, Duration::from_secs(10))));
    }

    #[test]
    fn the_first_probe_waits_for_the_initial_delay() {
        let settings = Settings {
            initial_delay: Duration::from_secs(7),
            ..settings()
        };
        assert_eq!(
            Prober::new(Kind::Startup, settings, at(0)).due_at(),
            Some(at(7_000))
        );
    }
}
