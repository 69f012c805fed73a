//! CPU limits hold, whatever else happens on the machine: shares of CPU time are compared, never of wall-clock time alone.

use std::time::Duration;

use crate::harness::{eventually, start};

#[tokio::test]
async fn a_cpu_limit_throttles() {
    // So little that even a busy machine gives it that much.
    let running = start("spins", |spec| spec.cpu_limit_millis = Some(50)).await;
    let usage = eventually("it was held back in several periods", || {
        let usage = running.container.usage();
        if usage.throttled_periods >= 5 {
            Ok(usage)
        } else {
            Err(format!("{usage:?}"))
        }
    })
    .await;
    // 5 ms of each period of 100 ms; the last one may be unfinished, and a slice may overdraw.
    let quota = Duration::from_millis(5) * u32::try_from(usage.periods + 1).unwrap();
    assert!(
        usage.cpu_time <= quota + Duration::from_millis(10),
        "{usage:?}"
    );
    assert!(usage.throttled_time > Duration::ZERO, "{usage:?}");
}

#[tokio::test]
async fn without_a_limit_nothing_is_throttled() {
    let running = start("spins", |_| {}).await;
    let usage = eventually("it runs", || {
        let usage = running.container.usage();
        if usage.cpu_time > Duration::from_millis(200) {
            Ok(usage)
        } else {
            Err(format!("{usage:?}"))
        }
    })
    .await;
    assert_eq!(
        (usage.throttled_periods, usage.throttled_time),
        (0, Duration::ZERO)
    );
}
