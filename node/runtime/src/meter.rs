//! CPU: what a container has used, and the limit on it. The thread's CPU clock around each poll is the measure, host calls included, because fuel
//! per CPU second differs 35-fold between programs. The limit is a bucket refilled every period, as the kernel's CFS bandwidth control has it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Sleep, sleep_until};

use crate::memory::Account;

/// The time over which a limit is kept, CFS' default: shorter throttles in smaller steps and costs more timers.
pub const PERIOD: Duration = Duration::from_millis(100);

/// What a container has used so far, and how it was held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time.
    pub cpu_time: Duration,
    /// Memory now, in bytes.
    pub memory_bytes: u64,
    /// The most memory at any time.
    pub memory_peak: u64,
    /// Fuel burnt by ended calls and, for a running program, up to its last yield.
    pub fuel: u64,
    /// Periods in which it ran.
    pub periods: u64,
    /// Periods in which it was held back.
    pub throttled_periods: u64,
    /// How long it was held back.
    pub throttled_time: Duration,
}

/// The bucket of a limit. Pure; the clock comes in.
#[derive(Debug)]
struct Bucket {
    quota: i64,
    tokens: i64,
    period_began: Instant,
    periods: u64,
    throttled_periods: u64,
    throttled_nanos: u64,
    /// Whether this period counts as throttled already.
    throttled: bool,
}

impl Bucket {
    fn new(millis: u32, now: Instant) -> Self {
        let quota = i64::from(millis) * i64::try_from(PERIOD.as_nanos()).unwrap_or(i64::MAX) / 1000;
        Self {
            quota,
            tokens: quota,
            period_began: now,
            periods: 0,
            throttled_periods: 0,
            throttled_nanos: 0,
            throttled: false,
        }
    }

    /// Refills for the periods that have passed. What was overdrawn stays owed; what was not used is not saved.
    fn refill(&mut self, now: Instant) {
        let passed =
            now.saturating_duration_since(self.period_began).as_nanos() / PERIOD.as_nanos();
        let Ok(passed) = u32::try_from(passed) else {
            self.period_began = now;
            self.tokens = self.quota;
            return;
        };
        if passed > 0 {
            self.period_began += PERIOD * passed;
            self.tokens = self
                .tokens
                .saturating_add(self.quota.saturating_mul(i64::from(passed)))
                .min(self.quota);
            self.periods += 1;
            self.throttled = false;
        }
    }

    /// When to go on, if not now.
    fn held_until(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        if self.tokens > 0 {
            return None;
        }
        if !self.throttled {
            self.throttled = true;
            self.throttled_periods += 1;
        }
        // As many periods as the debt takes.
        let periods = 1 + u32::try_from(-self.tokens / self.quota.max(1)).unwrap_or(u32::MAX - 1);
        Some(self.period_began + PERIOD.saturating_mul(periods))
    }
}

/// The meter of one container, shared by all its instances.
#[derive(Debug)]
pub struct Meter {
    cpu_nanos: AtomicU64,
    fuel: AtomicU64,
    bucket: Option<Mutex<Bucket>>,
}

impl Meter {
    /// A meter, with a limit in thousandths of a core.
    #[must_use]
    pub fn new(limit_millis: Option<u32>) -> Arc<Self> {
        let bucket =
            limit_millis.map(|millis| Mutex::new(Bucket::new(millis.max(1), Instant::now())));
        Arc::new(Self {
            cpu_nanos: AtomicU64::new(0),
            fuel: AtomicU64::new(0),
            bucket,
        })
    }

    /// Counts fuel of an ended call.
    pub(crate) fn burnt(&self, fuel: u64) {
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
    }

    /// CPU time so far, in nanoseconds.
    pub(crate) fn cpu_nanos(&self) -> u64 {
        self.cpu_nanos.load(Ordering::Relaxed)
    }

    fn charge(&self, nanos: u64) {
        self.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some(bucket) = &self.bucket {
            let mut bucket = bucket.lock();
            bucket.tokens = bucket
                .tokens
                .saturating_sub(i64::try_from(nanos).unwrap_or(i64::MAX));
        }
    }

    fn held_until(&self) -> Option<Instant> {
        self.bucket.as_ref()?.lock().held_until(Instant::now())
    }

    fn held(&self, nanos: u64) {
        if let Some(bucket) = &self.bucket {
            bucket.lock().throttled_nanos += nanos;
        }
    }

    /// The usage so far; memory comes from `account`.
    #[must_use]
    pub fn usage(&self, account: &Account) -> Usage {
        let (periods, throttled_periods, throttled_nanos) = match &self.bucket {
            Some(bucket) => {
                let mut bucket = bucket.lock();
                bucket.refill(Instant::now());
                (
                    bucket.periods,
                    bucket.throttled_periods,
                    bucket.throttled_nanos,
                )
            }
            None => (0, 0, 0),
        };
        Usage {
            cpu_time: Duration::from_nanos(self.cpu_nanos()),
            memory_bytes: account.used(),
            memory_peak: account.peak(),
            fuel: self.fuel.load(Ordering::Relaxed),
            periods,
            throttled_periods,
            throttled_time: Duration::from_nanos(throttled_nanos),
        }
    }
}

/// The CPU time of the calling thread in nanoseconds.
fn thread_cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec)
        .unwrap_or_default()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// A future whose polls are charged to a meter, and held back while its limit is reached.
pub(crate) struct Metered<F> {
    meter: Arc<Meter>,
    future: Pin<Box<F>>,
    held: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<F> Metered<F> {
    pub(crate) fn new(meter: Arc<Meter>, future: F) -> Self {
        Self {
            meter,
            future: Box::pin(future),
            held: None,
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            if let Some((since, sleep)) = &mut self.held {
                let since = *since;
                std::task::ready!(sleep.as_mut().poll(context));
                self.held = None;
                self.meter
                    .held(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            match self.meter.held_until() {
                Some(until) => {
                    self.held = Some((Instant::now(), Box::pin(sleep_until(until.into()))))
                }
                None => break,
            }
        }
        let before = thread_cpu();
        let polled = self.future.as_mut().poll(context);
        let spent = thread_cpu().saturating_sub(before);
        self.meter.charge(spent);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_quota_each_period_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(250, start);
        let quota = i64::try_from(PERIOD.as_nanos() / 4).unwrap();
        let mut used = 0_i64;
        // A program that always runs, in slices of a millisecond, for ten periods.
        let mut now = start;
        while now < start + PERIOD * 10 {
            match bucket.held_until(now) {
                None => {
                    bucket.tokens -= 1_000_000;
                    used += 1_000_000;
                    now += Duration::from_millis(1);
                }
                Some(until) => {
                    assert!(until > now);
                    now = until;
                }
            }
        }
        let expected = quota * 10;
        assert!((used - expected).abs() <= 2_000_000, "{used} of {expected}");
        assert!(bucket.throttled_periods >= 9);
    }

    #[test]
    fn debt_is_paid_and_idleness_is_not_saved() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, start);
        bucket.tokens -= 3 * bucket.quota;
        // Overdrawn by twice the quota: held for the rest of this period and two more.
        assert_eq!(bucket.held_until(start), Some(start + PERIOD * 3));
        assert_eq!(bucket.held_until(start + PERIOD * 3), None);
        assert_eq!(bucket.tokens, bucket.quota);
        bucket.refill(start + PERIOD * 50);
        assert_eq!(bucket.tokens, bucket.quota);
    }
}
