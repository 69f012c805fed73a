//! Pods find each other, and Services spread what is sent to them.

use super::*;
use crate::{
    service::{Endpoint, TrafficPolicy},
    testing::{at, endpoint, identity, pod, program, serve, service, slice},
};

const VIP: &str = "10.96.0.10";

fn world(switch: &Switch, backends: &[&str]) {
    serve(switch, VIP, Protocol::Tcp, backends);
}

#[tokio::test]
async fn a_service_spreads_connections_over_its_pods_and_hides_them() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b, client) = (
        pod(&switch, "a", "10.1.0.1"),
        pod(&switch, "b", "10.1.0.2"),
        pod(&switch, "c", "10.1.0.3"),
    );
    let listeners = [a, b].map(|stack| stack.tcp_listen(at("0.0.0.0:8080"), 16).unwrap());
    world(&switch, &["10.1.0.1", "10.1.0.2"]);
    let vip = at("10.96.0.10:80");
    let mut streams = Vec::new();
    for _ in 0..4 {
        let stream = client.tcp_connect(vip).await.unwrap();
        assert_eq!(stream.peer_addr(), vip);
        streams.push(stream);
    }
    for listener in &listeners {
        listener.try_accept().unwrap();
        let second = listener.try_accept().unwrap();
        assert_eq!(second.peer_addr().ip(), client.identity().ip);
        assert_eq!(listener.try_accept().unwrap_err(), NetError::WouldBlock);
    }
    // Whoever has fewer open connections is next.
    let freed = streams.pop().unwrap().backend().unwrap().address;
    let next = client.tcp_connect(vip).await.unwrap();
    assert_eq!(next.backend().unwrap().address, freed);
    assert_eq!(client.lookup("web").unwrap(), [vip.ip()]);
}

#[tokio::test]
async fn a_pod_that_refuses_is_passed_over_and_none_is_a_refusal() {
    let switch = Switch::new(SwitchConfig::default());
    let (_deaf, b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    let listener = b.tcp_listen(at("0.0.0.0:8080"), 16).unwrap();
    world(&switch, &["10.1.0.1", "10.1.0.2", "10.1.0.77"]);
    for _ in 0..3 {
        switch.connect_from_host(at("10.96.0.10:80")).await.unwrap();
        listener.accept().await.unwrap();
    }
    world(&switch, &[]);
    let refused = switch.connect_from_host(at("10.96.0.10:80")).await;
    assert_eq!(refused.unwrap_err(), NetError::ConnectionRefused);
    let unknown = switch.connect_from_host(at("10.96.0.10:81")).await;
    assert_eq!(unknown.unwrap_err(), NetError::RemoteUnreachable);
}

#[tokio::test]
async fn a_pod_that_failed_is_not_asked_again_at_once() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    let [one, _other] = [&a, &b].map(|stack| stack.tcp_listen(at("0.0.0.0:8080"), 64).unwrap());
    world(&switch, &["10.1.0.1", "10.1.0.2"]);
    let mut streams = Vec::new();
    loop {
        let stream = switch.connect_from_host(at("10.96.0.10:80")).await.unwrap();
        let backend = stream.backend().unwrap();
        streams.push(stream);
        if backend.address == at("10.1.0.2:8080") {
            // Its user says that it did not answer as it should.
            backend.failed();
            break;
        }
    }
    while one.try_accept().is_ok() {}
    for _ in 0..10 {
        streams.push(switch.connect_from_host(at("10.96.0.10:80")).await.unwrap());
        one.try_accept().unwrap();
    }
}

#[tokio::test]
async fn what_a_local_policy_leaves_nothing_for_is_lost_in_silence() {
    let switch = Switch::new(SwitchConfig {
        connect_timeout: Duration::from_millis(20),
        ..SwitchConfig::default()
    });
    let client = pod(&switch, "c", "10.1.0.3");
    for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
        let mut local = service(VIP, protocol);
        local.internal_policy = TrafficPolicy::Local;
        let there = Endpoint {
            node: Some("there".into()),
            ..endpoint("10.2.0.1")
        };
        program(&switch, local, slice(protocol, vec![there]));
        let target = SocketAddr::new(VIP.parse().unwrap(), port);
        if protocol == Protocol::Tcp {
            assert_eq!(
                client.tcp_connect(target).await.unwrap_err(),
                NetError::Timeout
            );
            continue;
        }
        let socket = client.udp_bind(at("0.0.0.0:0")).unwrap();
        socket.connect(Some(target)).unwrap();
        socket.send(Bytes::from_static(b"x"), None).unwrap();
        assert_eq!(socket.try_recv(), Err(NetError::WouldBlock));
    }
}

#[tokio::test]
async fn two_pods_never_share_an_address() {
    let switch = Switch::new(SwitchConfig::default());
    let _first = pod(&switch, "a", "10.1.0.1");
    let second = identity("b", "10.1.0.1");
    assert_eq!(switch.attach(second).unwrap_err(), NetError::AddressInUse);
}
