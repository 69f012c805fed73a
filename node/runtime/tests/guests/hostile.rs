//! Programs that misbehave: each ends as it should, and its neighbour does not notice.

use std::time::Duration;

use coracle_runtime::Exit;

use crate::harness::{eventually, start};

#[tokio::test]
async fn memory_without_end_ends_as_out_of_memory() {
    let running = start("grows-memory", |spec| spec.memory_limit = Some(16 << 20)).await;
    assert_eq!(running.exit().await, Exit::OutOfMemory);
    let usage = running.container.usage();
    assert!(
        usage.memory_peak <= 16 << 20 && usage.memory_peak > 8 << 20,
        "{usage:?}"
    );
    eventually("memory is given back", || {
        match running.container.usage().memory_bytes {
            0 => Ok(()),
            left => Err(format!("{left} bytes held")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_trap_names_its_kind_and_place() {
    let running = start("traps", |_| {}).await;
    let Exit::Trapped(trap) = running.exit().await else {
        panic!("no trap")
    };
    assert!(trap.kind.contains("unreachable"), "{}", trap.kind);
    assert!(
        trap.backtrace.contains("fails_on_purpose") || trap.backtrace.contains("main"),
        "{}",
        trap.backtrace
    );
    assert!(running.out.text().starts_with("before"));
    assert!(running.err.text().contains("index out of bounds"));
}

#[tokio::test]
async fn recursion_without_end_is_a_trap() {
    let running = start("recurses", |_| {}).await;
    assert!(matches!(running.exit().await, Exit::Trapped(_)));
}

#[tokio::test]
async fn a_program_that_never_ends_is_ended() {
    let running = start("spins", |_| {}).await;
    eventually("it runs", || match running.container.usage().cpu_time {
        time if time > Duration::from_millis(20) => Ok(()),
        time => Err(format!("{time:?}")),
    })
    .await;
    assert_eq!(
        running.container.stop(Duration::from_millis(50)).await,
        Exit::Stopped
    );
}

#[tokio::test]
async fn a_flood_of_output_does_not_hold_up_the_end() {
    let running = start("floods-output", |_| {}).await;
    eventually("it floods", || {
        if running.out.text().len() > 500_000 {
            Ok(())
        } else {
            Err("too little".into())
        }
    })
    .await;
    assert_eq!(
        running.container.stop(Duration::from_millis(10)).await,
        Exit::Stopped
    );
}

#[tokio::test]
async fn a_fuel_budget_is_an_end() {
    let running = start("spins", |spec| spec.fuel_budget = Some(50_000_000)).await;
    assert_eq!(running.exit().await, Exit::OutOfFuel);
    let fuel = running.container.usage().fuel;
    assert!((49_000_000..=50_000_000).contains(&fuel), "{fuel}");
}

#[tokio::test]
async fn neighbours_of_hostile_programs_go_on() {
    let spinning: Vec<_> = futures::future::join_all((0..4).map(|_| start("spins", |_| {}))).await;
    let running = start("exits-with", |_| {}).await;
    assert_eq!(running.exit().await, Exit::Completed(0));
    drop(spinning);
}
