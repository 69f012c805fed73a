//! A pod's network behaves as a host's.

use std::{net::IpAddr, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    connections::EPHEMERAL,
    switch::SwitchConfig,
    testing::{at, dual_pod, identity, pod},
};

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
    for nobodys in ["255.255.255.255:0", "224.254.0.0:0", "[ff00::]:0"] {
        assert_eq!(
            a.tcp_bind(at(nobodys)).unwrap_err(),
            NetError::InvalidArgument,
            "{nobodys}"
        );
    }
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

#[tokio::test]
async fn the_families_are_apart_and_a_pod_can_have_both() {
    let switch = Switch::new(SwitchConfig::default());
    let a = dual_pod(&switch, "a", "10.1.0.1", "fd00::1");
    let b = dual_pod(&switch, "b", "10.1.0.2", "fd00::2");
    let lone = pod(&switch, "lone", "10.1.0.3");
    let six = a.tcp_listen(at("[::]:80"), 16).unwrap();
    // A wildcard of IPv6 takes no IPv4: sockets of WASI are of one family.
    assert_eq!(
        b.tcp_connect(at("10.1.0.1:80")).await.unwrap_err(),
        NetError::ConnectionRefused
    );
    let four = a.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    for (target, listener, source) in [
        ("[fd00::1]:80", &six, "fd00::2"),
        ("10.1.0.1:80", &four, "10.1.0.2"),
    ] {
        let client = b.tcp_connect(at(target)).await.unwrap();
        let server = listener.accept().await.unwrap();
        assert_eq!(server.peer_addr(), client.local_addr());
        assert_eq!(client.local_addr().ip(), source.parse::<IpAddr>().unwrap());
    }
    assert_eq!(
        lone.tcp_connect(at("[fd00::1]:80")).await.unwrap_err(),
        NetError::RemoteUnreachable
    );
    lone.tcp_connect(at("[::1]:80")).await.unwrap_err();
    a.close();
    assert!(switch.stack("fd00::1".parse().unwrap()).is_none());
    let twice = ["10.1.0.9".parse().unwrap()];
    assert_eq!(
        switch
            .attach_with(identity("x", "10.1.0.8"), &twice)
            .unwrap_err(),
        NetError::InvalidArgument
    );
}

#[tokio::test]
async fn a_bound_socket_connects_from_its_port_and_keeps_it() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    let _listener = a.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    let bound = b.tcp_bind(at("0.0.0.0:4000")).unwrap();
    let stream = bound.connect(at("10.1.0.1:80")).await.unwrap();
    assert_eq!(stream.local_addr(), at("10.1.0.2:4000"));
    assert_eq!(
        b.tcp_bind(at("0.0.0.0:4000")).unwrap_err(),
        NetError::AddressInUse
    );
    drop(stream);
    b.tcp_bind(at("0.0.0.0:4000")).unwrap();
    // From loopback no way leads out.
    let local = b.tcp_bind(at("127.0.0.1:0")).unwrap();
    assert_eq!(
        local.connect(at("10.1.0.1:80")).await.unwrap_err(),
        NetError::InvalidArgument
    );
}

#[tokio::test]
async fn source_ports_are_unique_to_a_destination() {
    let switch = Switch::new(SwitchConfig::default());
    let a = pod(&switch, "a", "10.1.0.1");
    let listener = a.tcp_listen(at("0.0.0.0:80"), 4096).unwrap();
    let mut streams = Vec::new();
    let mut sources = std::collections::HashSet::new();
    for _ in 0..2000 {
        let stream = a.tcp_connect(at("127.0.0.1:80")).await.unwrap();
        assert!(
            sources.insert(stream.local_addr()),
            "a port was given twice"
        );
        streams.push((stream, listener.accept().await.unwrap()));
    }
}

#[tokio::test]
async fn a_listener_that_goes_with_callers_waiting_resets_them() {
    let switch = Switch::new(SwitchConfig::default());
    let a = pod(&switch, "a", "10.1.0.1");
    let listener = a.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    let mut waiting = a.tcp_connect(at("127.0.0.1:80")).await.unwrap();
    drop(listener);
    let reset = waiting.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    // The port can be bound at once: there is no TIME_WAIT to wait for.
    a.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
}
