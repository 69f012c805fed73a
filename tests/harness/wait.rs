//! The one place where tests wait: for an answer, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long until it is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer, for a minute at most.
///
/// # Panics
/// When there is none by then.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(PAUSE);
    }
}
