//! How long a Job waits after failures before it makes the next pod. Computed from the pods that are there, so that a restart of the controller forgets
//! nothing.

use jiff::Timestamp;

use super::{
    failures::{FAILURES, IGNORED, before},
    indexes,
    plan::Work,
    tally::{Outcome, outcome},
};
use crate::readiness::{after, ended_at};

/// The wait after the first failure in seconds; it doubles with each further one. Upstream's.
const FIRST: i64 = 10;
/// The longest wait in seconds. Upstream's.
const LONGEST: i64 = 600;

/// When the next pod may be made; `None` when nothing failed since the last success.
#[must_use]
pub(super) fn until(work: &Work<'_>) -> Option<Timestamp> {
    let mut ends: Vec<(Timestamp, Outcome)> = work
        .pods
        .iter()
        // Pods that are only being deleted did not fail by themselves.
        .filter_map(|pod| Some((ended_at(pod)?, outcome(pod, true)?)))
        .collect();
    ends.sort_by_key(|(at, outcome)| (*at, *outcome == Outcome::Failed));
    let failures = ends
        .iter()
        .rev()
        .take_while(|(_, outcome)| *outcome == Outcome::Failed);
    let count = u32::try_from(failures.count()).unwrap_or(u32::MAX);
    let (last, _) = ends.last().filter(|_| count > 0)?;
    Some(after(*last, wait(count)))
}

/// When the next pod of an index may be made, in Jobs that limit failures by index; `None` when no pod of it failed.
#[must_use]
pub(super) fn until_of_index(work: &Work<'_>, index: u32) -> Option<Timestamp> {
    let of_index = work
        .pods
        .iter()
        .filter(|pod| indexes::of(pod) == Some(index));
    let failed = of_index.filter(|pod| outcome(pod, true) == Some(Outcome::Failed));
    let mut count = 0;
    let mut last: Option<Timestamp> = None;
    for pod in failed {
        let before = before(pod, FAILURES).saturating_add(before(pod, IGNORED));
        count = count.max(before.saturating_add(1));
        last = last.max(ended_at(pod));
    }
    Some(after(last?, wait(u32::try_from(count).unwrap_or(1))))
}

/// When a pod may be made that has to wait now.
#[must_use]
pub(super) fn next(work: &Work<'_>) -> Option<Timestamp> {
    let now = work.observed.now;
    if work.spec.backoff_limit_per_index.is_none() {
        return until(work).filter(|at| *at > now);
    }
    let of_pods = work.pods.iter().filter_map(|pod| indexes::of(pod));
    let times = of_pods.filter_map(|index| until_of_index(work, index));
    times.filter(|at| *at > now).min()
}

/// The wait after so many failures, in seconds.
fn wait(failures: u32) -> i64 {
    let doublings = failures.saturating_sub(1).min(10);
    (FIRST << doublings).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_minutes() {
        let waits: Vec<_> = (1..9).map(wait).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
