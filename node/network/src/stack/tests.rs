//! A pod's network behaves as a host's.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::switch::SwitchConfig;

fn pod(switch: &Arc<Switch>, name: &str, ip: &str) -> Arc<PodStack> {
    let identity = PodIdentity {
        namespace: "default".into(),
        name: name.into(),
        uid: name.into(),
        ip: ip.parse().unwrap(),
        hostname: name.into(),
        subdomain: None,
    };
    switch.attach(identity).unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn containers_of_a_pod_meet_on_loopback_and_pods_on_their_addresses() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    let listener = a.tcp_listen(at("0.0.0.0:8080"), 16).unwrap();
    for (stack, target) in [
        (&a, "127.0.0.1:8080"),
        (&a, "10.1.0.1:8080"),
        (&b, "10.1.0.1:8080"),
        (&a, "0.0.0.0:8080"),
    ] {
        let mut client = stack.tcp_connect(at(target)).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        client.write_all(b"hi").await.unwrap();
        let mut heard = [0; 2];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hi");
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let expected = if target.starts_with("10.") {
            stack.identity().ip
        } else {
            loopback
        };
        assert_eq!(server.peer_addr().ip(), expected);
    }
    // Loopback is the pod's own.
    assert_eq!(
        b.tcp_connect(at("127.0.0.1:8080")).await.unwrap_err(),
        NetError::ConnectionRefused
    );
}

#[tokio::test]
async fn addresses_and_ports_are_given_as_linux_gives_them() {
    let switch = Switch::new(SwitchConfig::default());
    let a = pod(&switch, "a", "10.1.0.1");
    let first = a.tcp_bind(at("0.0.0.0:80")).unwrap();
    assert_eq!(
        a.tcp_bind(at("127.0.0.1:80")).unwrap_err(),
        NetError::AddressInUse
    );
    assert_eq!(
        a.tcp_bind(at("10.9.9.9:80")).unwrap_err(),
        NetError::AddressNotBindable
    );
    let listener = first.listen(1).unwrap();
    assert_eq!(
        a.tcp_bind(at("10.1.0.1:80")).unwrap_err(),
        NetError::AddressInUse
    );
    drop(listener);
    let chosen = a.tcp_bind(at("127.0.0.1:0")).unwrap();
    assert!(EPHEMERAL.contains(&chosen.local_addr().port()));
    a.tcp_bind(at("10.1.0.1:80")).unwrap();
    assert_eq!(
        a.tcp_connect(at("10.1.0.1:81")).await.unwrap_err(),
        NetError::ConnectionRefused
    );
    assert_eq!(
        a.tcp_connect(at("10.1.0.77:81")).await.unwrap_err(),
        NetError::RemoteUnreachable
    );
    assert_eq!(
        a.tcp_connect(at("169.254.169.254:80")).await.unwrap_err(),
        NetError::AccessDenied
    );
}

#[tokio::test]
async fn a_full_backlog_makes_callers_wait_and_time_out() {
    let connect_timeout = Duration::from_millis(200);
    let switch = Switch::new(SwitchConfig {
        connect_timeout,
        ..SwitchConfig::default()
    });
    let a = pod(&switch, "a", "10.1.0.1");
    let listener = a.tcp_listen(at("0.0.0.0:80"), 1).unwrap();
    let _first = a.tcp_connect(at("127.0.0.1:80")).await.unwrap();
    let second = tokio::spawn(a.tcp_connect(at("127.0.0.1:80")));
    tokio::task::yield_now().await;
    listener.accept().await.unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(
        a.tcp_connect(at("127.0.0.1:80")).await.unwrap_err(),
        NetError::Timeout
    );
}

#[tokio::test]
async fn callers_of_a_restarting_container_wait_for_it() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    let listener = a.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    a.set_restarting(true);
    drop(listener);
    a.set_restarting(false);
    let mut caller = b.tcp_connect(at("10.1.0.1:80")).await.unwrap();
    caller.write_all(b"hello").await.unwrap();
    let listener = a.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    let mut server = listener.accept().await.unwrap();
    let mut heard = [0; 5];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    // One that does not come back refuses in the end.
    a.set_restarting(true);
    drop(listener);
    let waiting = b.tcp_connect(at("10.1.0.1:80")).await.unwrap();
    a.close_parked();
    waiting.readable().await;
    assert_eq!(waiting.try_read(1), Err(NetError::ConnectionReset));
    assert_eq!(
        b.tcp_connect(at("10.1.0.1:80")).await.unwrap_err(),
        NetError::ConnectionRefused
    );
}

#[tokio::test]
async fn draining_refuses_the_new_and_finishes_the_old() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    let listener = a.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    let mut early = b.tcp_connect(at("10.1.0.1:80")).await.unwrap();
    a.drain();
    assert_eq!(
        b.tcp_connect(at("10.1.0.1:80")).await.unwrap_err(),
        NetError::ConnectionRefused
    );
    let mut server = listener.accept().await.unwrap();
    server.write_all(b"still here").await.unwrap();
    drop(server);
    let mut heard = String::new();
    early.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "still here");
    assert_eq!(
        listener.accept().await.unwrap_err(),
        NetError::ConnectionAborted
    );
}

#[tokio::test]
async fn a_closed_stack_is_off_the_switch() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    let _listener = a.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    a.close();
    assert_eq!(
        b.tcp_connect(at("10.1.0.1:80")).await.unwrap_err(),
        NetError::RemoteUnreachable
    );
    assert_eq!(
        a.tcp_bind(at("0.0.0.0:81")).unwrap_err(),
        NetError::InvalidState
    );
    pod(&switch, "c", "10.1.0.1");
}
