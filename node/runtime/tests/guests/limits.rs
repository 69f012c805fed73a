//! CPU limits hold, whatever else happens on the machine: shares of CPU time are compared, never of wall-clock time alone.

use std::time::Duration;

use crate::harness::{eventually, start};

#[tokio::test]
async fn a_cpu_limit_throttles() {
    let running = start("spins", |spec| spec.cpu_limit_millis = Some(200)).await;
    let usage = eventually("ten periods have passed", || {
        let usage = running.container.usage();
        if usage.periods >= 10 {
            Ok(usage)
        } else {
            Err(format!("{usage:?}"))
        }
    })
    .await;
    // 20 ms of each period of 100 ms; the last one may be unfinished, and the first slice overdraws by one slice.
    let most = Duration::from_millis(20) * u32::try_from(usage.periods + 2).unwrap();
    assert!(usage.cpu_time <= most, "{usage:?}");
    assert!(usage.throttled_periods >= 8, "{usage:?}");
    assert!(
        usage.throttled_time > Duration::from_millis(400),
        "{usage:?}"
    );
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
