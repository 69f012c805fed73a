//! How long to wait after failures: exponentially longer, up to a bound. Pure; who waits brings the chance for the jitter.

use std::time::Duration;

/// Waits that double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub base: Duration,
    /// At most.
    pub cap: Duration,
}

/// Of a key whose plan could not be carried out. Upstream's numbers (5 ms, 1000 s): a conflict is usually over when the next event has arrived, and what
/// fails for hours should cost nothing.
pub const OF_KEYS: Backoff = Backoff {
    base: Duration::from_millis(5),
    cap: Duration::from_secs(1000),
};

/// Of connections to the API server. The first retry is soon, because a server in the same process is only ever restarted as a whole; upstream's 30 s
/// keep a fleet from drowning a server that comes back.
pub const OF_CONNECTIONS: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(30),
};

impl Backoff {
    /// How long to wait after so many failures in a row.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings.min(31)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The same, up to a half less: what failed together does not come back together. `draw` is any number.
    #[must_use]
    pub fn jittered(self, failures: u32, draw: u128) -> Duration {
        let full = self.after(failures);
        let share = u32::try_from(draw % 1000).unwrap_or(0);
        full - full / 2 * share / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let millis = |failures| OF_KEYS.after(failures).as_millis();
        assert_eq!(millis(0), 0);
        assert_eq!(millis(1), 5);
        assert_eq!(millis(2), 10);
        assert_eq!(millis(8), 640);
        assert_eq!(millis(18), 655_360);
        assert_eq!(millis(19), 1_000_000);
        assert_eq!(millis(u32::MAX), 1_000_000);
    }

    #[test]
    fn jitter_takes_away_at_most_a_half() {
        for draw in [0, 1, 499, 999, 1000, u128::MAX] {
            let wait = OF_CONNECTIONS.jittered(3, draw);
            assert!(wait <= Duration::from_millis(200) && wait >= Duration::from_millis(100));
        }
        assert_ne!(
            OF_CONNECTIONS.jittered(3, 0),
            OF_CONNECTIONS.jittered(3, 700)
        );
    }
}
