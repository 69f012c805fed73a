//! Programs on the virtual network.

use std::time::Duration;

use coracle_network::{Switch, SwitchConfig};
use coracle_runtime::Exit;

use crate::harness::{eventually, pod, start, start_in};

#[tokio::test]
async fn pods_talk_to_each_other_and_containers_over_loopback() {
    let switch = Switch::new(SwitchConfig::default());
    let (first, second) = (pod(&switch, 1), pod(&switch, 2));
    let server = start_in(&first, "echoes", |_| {}).await;
    eventually("the server listens", || {
        if first.listens_on(7) {
            Ok(())
        } else {
            Err(server.err.text())
        }
    })
    .await;
    for (stack, target) in [
        (&second, "10.1.0.1:7"),
        (&first, "localhost:7"),
        (&first, "pod-1:7"),
    ] {
        let client = start_in(stack, "talks", |spec| spec.args.push(target.into())).await;
        assert_eq!(
            client.exit().await,
            Exit::Completed(0),
            "{target}: {}",
            client.err.text()
        );
        assert_eq!(client.out.text(), "talked\n");
    }
    assert!(first.traffic().accepted >= 3);
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_finishes_and_ends_by_itself() {
    let server = start("echoes", |_| {}).await;
    eventually("the server listens", || {
        if server.stack.listens_on(7) {
            Ok(())
        } else {
            Err(server.err.text())
        }
    })
    .await;
    assert_eq!(
        server.container.stop(Duration::from_secs(30)).await,
        Exit::Completed(0)
    );
}

#[tokio::test]
async fn a_program_that_waits_for_its_shutdown_puts_things_away() {
    let program = start("waits-for-shutdown", |_| {}).await;
    eventually("it waits", || {
        if program.out.text() == "waiting\n" {
            Ok(())
        } else {
            Err(program.err.text())
        }
    })
    .await;
    assert_eq!(
        program.container.stop(Duration::from_secs(30)).await,
        Exit::Completed(0)
    );
    assert_eq!(program.out.text(), "waiting\nputting things away\n");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_before_it_listens_ends_by_itself() {
    let server = start("echoes", |_| {}).await;
    assert_eq!(
        server.container.stop(Duration::from_secs(30)).await,
        Exit::Completed(0),
        "{}",
        server.err.text()
    );
}

#[tokio::test]
async fn nothing_outside_is_reached() {
    let running = start("reaches-out", |_| {}).await;
    assert_eq!(
        running.exit().await,
        Exit::Completed(0),
        "{}",
        running.err.text()
    );
    let text = running.out.text();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(!text.contains(": reached"), "{text}");
    assert!(
        text.contains("169.254.169.254:80: PermissionDenied"),
        "{text}"
    );
}
