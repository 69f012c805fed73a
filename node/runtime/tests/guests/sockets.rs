//! `wasi:sockets` from inside a guest: what the public test programs of WASI expect, in guests of our own, and datagrams through a Service.

use std::sync::Arc;

use coracle_network::{
    Endpoint, EndpointSlice, Place, Protocol, Service, ServiceKind, ServicePort, SlicePort, Switch,
    SwitchConfig, vip,
};
use coracle_runtime::Exit;

use crate::harness::{eventually, pod, start, start_in};

async fn ends_well(guest: &str) {
    let running = start(guest, |_| {}).await;
    assert_eq!(
        running.exit().await,
        Exit::Completed(0),
        "{}",
        running.err.text()
    );
    assert_eq!(running.out.text(), "as a host\n");
}

#[tokio::test]
async fn udp_is_as_on_a_host() {
    ends_well("checks-udp").await;
}

#[tokio::test]
async fn sending_more_than_allowed_is_a_trap() {
    let running = start("sends-too-much", |_| {}).await;
    let exit = running.exit().await;
    assert!(matches!(exit, Exit::Trapped(_)), "{exit:?}");
    assert_eq!(running.out.text(), "");
}

#[tokio::test]
async fn names_and_addresses_are_looked_up() {
    let names = [
        ("localhost", "127.0.0.1 ::1"),
        ("pod-1", "10.1.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("[::]", "::"),
        ("DEAD:BEEF::0", "dead:beef::"),
        ("example.com", "name-unresolvable"),
        ("", "invalid-argument"),
        ("127.0.0.1:80", "invalid-argument"),
        ("http://example.com/", "invalid-argument"),
    ];
    let running = start("looks-up", |spec| {
        spec.args.extend(names.map(|(name, _)| name.to_owned()));
    })
    .await;
    assert_eq!(running.exit().await, Exit::Completed(0));
    let text = running.out.text();
    let told: Vec<&str> = text.lines().collect();
    let expected: Vec<String> = names.map(|(name, of)| format!("{name}: {of}")).into();
    // How an error code shows itself is the bindings' choice; its name in it is the specification's.
    let plain = |line: &str| match line.split_once("ErrorCode {") {
        None => line.to_owned(),
        Some((name, code)) => {
            let code = code.split('"').nth(1).unwrap_or_default();
            format!("{name}{code}")
        }
    };
    assert_eq!(
        told.iter().map(|line| plain(line)).collect::<Vec<_>>(),
        expected
    );
}

fn service() -> (Service, EndpointSlice) {
    let service = Service {
        namespace: "default".into(),
        name: "echo".into(),
        addresses: vec!["10.96.0.10".parse().unwrap()],
        ports: vec![ServicePort {
            name: "echo".into(),
            protocol: Protocol::Udp,
            port: 70,
            node_port: None,
        }],
        ..Service::default()
    };
    let endpoint = |last: u8| Endpoint {
        addresses: vec![[10, 1, 0, last].into()],
        ..Endpoint::default()
    };
    let slice = EndpointSlice {
        namespace: "default".into(),
        service: "echo".into(),
        ports: vec![SlicePort {
            name: "echo".into(),
            protocol: Protocol::Udp,
            port: 7,
        }],
        endpoints: vec![endpoint(1), endpoint(2)],
    };
    (service, slice)
}

#[tokio::test]
async fn a_socket_stays_with_one_pod_of_a_service() {
    let switch = Switch::new(SwitchConfig::default());
    let (service, slice) = service();
    assert_eq!(service.kind, ServiceKind::Virtual);
    let table = vip::build(&[service], &[slice], &Place::default());
    switch.apply(switch.with_table(|old| vip::diff(old, &table)));
    let mut servers = Vec::new();
    for last in [1, 2] {
        let stack = pod(&switch, last);
        let server = start_in(&stack, "echoes-datagrams", |spec| {
            spec.env.push(("HOSTNAME".into(), format!("pod-{last}")));
        })
        .await;
        eventually("the server listens", || {
            if server.out.text().contains("listening") {
                Ok(())
            } else {
                Err(server.err.text())
            }
        })
        .await;
        servers.push(server);
    }
    let client = pod(&switch, 3);
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let asking = start_in(&client, "asks-by-datagram", |spec| {
            spec.args.push("echo:70".into());
        })
        .await;
        assert_eq!(
            asking.exit().await,
            Exit::Completed(0),
            "{}",
            asking.err.text()
        );
        let text = asking.out.text();
        let first = text.lines().next().unwrap().to_owned();
        assert_eq!(text, format!("{first}\n").repeat(10), "one pod per socket");
        answered.insert(first);
    }
    assert_eq!(answered.len(), 2, "two sockets, two pods: {answered:?}");
    assert!(Arc::ptr_eq(
        &switch.stack([10, 1, 0, 3].into()).unwrap(),
        &client
    ));
}
