//! Datagrams between pods behave as between hosts.

use crate::{
    switch::{Switch, SwitchConfig},
    testing::{at, dual_pod, pod, serve},
};

use super::*;
use crate::service::Protocol;

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn datagrams_arrive_whole_in_order_and_with_their_sender() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    let server = a.udp_bind(at("0.0.0.0:53")).unwrap();
    let client = b.udp_bind(at("0.0.0.0:0")).unwrap();
    for data in ["one", "", "three"] {
        client.send(text(data), Some(at("10.1.0.1:53"))).unwrap();
    }
    let expected = SocketAddr::new(b.identity().ip, client.local_addr().port());
    for data in ["one", "", "three"] {
        let got = server.recv().await.unwrap();
        assert_eq!((got.data, got.source), (text(data), expected));
    }
    assert_eq!(server.try_recv(), Err(NetError::WouldBlock));
    server.send(text("answer"), Some(expected)).unwrap();
    assert_eq!(client.recv().await.unwrap().source, at("10.1.0.1:53"));
    // Loopback is the pod's own.
    let local = a.udp_bind(at("127.0.0.1:0")).unwrap();
    local.send(text("x"), Some(at("127.0.0.1:53"))).unwrap();
    assert_eq!(server.recv().await.unwrap().source, local.local_addr());
}

#[tokio::test]
async fn ports_are_given_as_linux_gives_them() {
    let switch = Switch::new(SwitchConfig::default());
    let a = pod(&switch, "a", "10.1.0.1");
    let first = a.udp_bind(at("0.0.0.0:53")).unwrap();
    let taken = a.udp_bind(at("127.0.0.1:53")).unwrap_err();
    assert_eq!(taken, NetError::AddressInUse);
    // The families are apart, and so are the protocols.
    let _v6 = a.udp_bind(at("[::]:53")).unwrap();
    let _tcp = a.tcp_bind(at("0.0.0.0:53")).unwrap();
    let foreign = a.udp_bind(at("10.9.9.9:53")).unwrap_err();
    assert_eq!(foreign, NetError::AddressNotBindable);
    let specific = a.udp_bind(at("10.1.0.1:54")).unwrap();
    let taken = a.udp_bind(at("0.0.0.0:54")).unwrap_err();
    assert_eq!(taken, NetError::AddressInUse);
    drop((first, specific));
    a.udp_bind(at("0.0.0.0:54")).unwrap();
    let chosen = a.udp_bind(at("127.0.0.1:0")).unwrap();
    assert_ne!(chosen.local_addr().port(), 0);
    let held: Vec<_> = std::iter::from_fn(|| a.udp_bind(at("0.0.0.0:0")).ok()).collect();
    assert!(held.len() < SOCKETS_LIMIT);
    let full = a.udp_bind(at("0.0.0.0:0")).unwrap_err();
    assert_eq!(full, NetError::NewSocketLimit);
}

#[tokio::test]
async fn a_connected_socket_hears_its_peer_alone() {
    let switch = Switch::new(SwitchConfig::default());
    let a = pod(&switch, "a", "10.1.0.1");
    let [server, one, other] = [(); 3].map(|()| a.udp_bind(at("127.0.0.1:0")).unwrap());
    for (from, data) in [(&one, "A"), (&other, "B"), (&one, "A")] {
        from.send(text(data), Some(server.local_addr())).unwrap();
    }
    server.connect(Some(other.local_addr())).unwrap();
    assert_eq!(server.recv().await.unwrap().data, "B");
    assert_eq!(server.try_recv(), Err(NetError::WouldBlock));
    one.send(text("A"), Some(server.local_addr())).unwrap();
    assert_eq!(server.try_recv(), Err(NetError::WouldBlock));
    assert_eq!(
        server.send(text("x"), Some(one.local_addr())),
        Err(NetError::InvalidArgument)
    );
    server.connect(None).unwrap();
    one.send(text("A"), Some(server.local_addr())).unwrap();
    assert_eq!(server.recv().await.unwrap().data, "A");
    assert_eq!(server.send(text("x"), None), Err(NetError::InvalidArgument));
}

#[tokio::test]
async fn who_is_connected_learns_that_nobody_listens() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, _b) = (pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2"));
    for target in ["127.0.0.1:9", "10.1.0.2:9"] {
        let socket = a.udp_bind(at("0.0.0.0:0")).unwrap();
        socket.send(text("x"), Some(at(target))).unwrap();
        assert_eq!(socket.try_recv(), Err(NetError::WouldBlock), "{target}");
        socket.connect(Some(at(target))).unwrap();
        socket.send(text("x"), None).unwrap();
        assert_eq!(socket.recv().await, Err(NetError::ConnectionRefused));
        assert_eq!(socket.try_recv(), Err(NetError::WouldBlock));
        socket.send(text("x"), None).unwrap();
        assert_eq!(
            socket.send(text("x"), None),
            Err(NetError::ConnectionRefused),
            "{target}: the datagram before"
        );
    }
}

#[tokio::test]
async fn addresses_that_lead_nowhere_are_told_as_linux_tells_them() {
    let switch = Switch::new(SwitchConfig::default());
    let a = pod(&switch, "a", "10.1.0.1");
    let socket = a.udp_bind(at("0.0.0.0:0")).unwrap();
    for (target, error) in [
        ("10.1.0.77:9", NetError::RemoteUnreachable),
        ("169.254.169.254:80", NetError::AccessDenied),
        ("255.255.255.255:9", NetError::AccessDenied),
        ("224.0.0.1:9", NetError::RemoteUnreachable),
        ("0.0.0.0:9", NetError::InvalidArgument),
        ("10.1.0.1:0", NetError::InvalidArgument),
        ("[::1]:9", NetError::InvalidArgument),
    ] {
        assert_eq!(
            socket.send(text("x"), Some(at(target))),
            Err(error),
            "{target}"
        );
    }
    let local = a.udp_bind(at("127.0.0.1:0")).unwrap();
    assert_eq!(
        local.send(text("x"), Some(at("10.1.0.2:9"))),
        Err(NetError::InvalidArgument)
    );
    let six = a.udp_bind(at("[::]:0")).unwrap();
    assert_eq!(
        six.connect(Some(at("[fd00::2]:9"))),
        Err(NetError::RemoteUnreachable),
        "the pod has no IPv6 address"
    );
    let large = |bytes| Bytes::from(vec![0; bytes]);
    let receiver = a.udp_bind(at("127.0.0.1:0")).unwrap();
    let to = Some(receiver.local_addr());
    assert_eq!(
        socket.send(large(LARGEST_V4 + 1), to),
        Err(NetError::DatagramTooLarge)
    );
    socket.send(large(LARGEST_V4), to).unwrap();
    assert_eq!(receiver.try_recv().unwrap().data.len(), LARGEST_V4);
}

#[tokio::test]
async fn a_full_queue_loses_what_comes_and_counts_it() {
    let switch = Switch::new(SwitchConfig::default());
    let a = pod(&switch, "a", "10.1.0.1");
    let receiver = a.udp_bind(at("127.0.0.1:53")).unwrap();
    assert_eq!(receiver.set_receive_buffer(1), RECEIVE_BUFFER_LEAST);
    let sender = a.udp_bind(at("127.0.0.1:0")).unwrap();
    for _ in 0..1000 {
        sender
            .send(Bytes::new(), Some(receiver.local_addr()))
            .unwrap();
    }
    let kept = std::iter::from_fn(|| receiver.try_recv().ok()).count();
    assert_eq!(kept, RECEIVE_BUFFER_LEAST.div_ceil(OVERHEAD));
    assert_eq!(a.traffic().dropped, 1000 - kept as u64);
    assert_eq!(receiver.set_receive_buffer(usize::MAX), RECEIVE_BUFFER);
}

#[tokio::test]
async fn a_service_keeps_a_flow_with_a_pod_and_answers_in_its_own_name() {
    let switch = Switch::new(SwitchConfig::default());
    let (a, b, c) = (
        pod(&switch, "a", "10.1.0.1"),
        pod(&switch, "b", "10.1.0.2"),
        pod(&switch, "c", "10.1.0.3"),
    );
    let service = at("10.96.0.10:53");
    serve(
        &switch,
        "10.96.0.10",
        Protocol::Udp,
        &["10.1.0.1", "10.1.0.2"],
    );
    let servers = [&a, &b].map(|stack| stack.udp_bind(at("0.0.0.0:8080")).unwrap());
    let mut heard = [0; 2];
    let clients: Vec<_> = (0..10)
        .map(|_| c.udp_bind(at("0.0.0.0:0")).unwrap())
        .collect();
    for client in &clients {
        client.connect(Some(service)).unwrap();
        for _ in 0..3 {
            client.send(text("question"), None).unwrap();
        }
        for (server, heard) in servers.iter().zip(&mut heard) {
            let got: Vec<_> = std::iter::from_fn(|| server.try_recv().ok()).collect();
            assert!(got.is_empty() || got.len() == 3, "a flow was split");
            *heard += got.len();
            if let Some(first) = got.first() {
                assert_eq!(first.source, client.local_addr());
                server.send(text("answer"), Some(first.source)).unwrap();
            }
        }
        let answer = client.recv().await.unwrap();
        assert_eq!((answer.data, answer.source), (text("answer"), service));
    }
    assert_eq!(heard, [15, 15], "new flows take turns");
    // The pod of a flow goes: the flow goes on with the other.
    serve(&switch, "10.96.0.10", Protocol::Udp, &["10.1.0.2"]);
    for client in &clients {
        client.send(text("again"), None).unwrap();
        assert_eq!(servers[1].recv().await.unwrap().data, "again");
    }
    serve(&switch, "10.96.0.10", Protocol::Udp, &[]);
    clients[0].send(text("nobody"), None).unwrap();
    assert_eq!(clients[0].recv().await, Err(NetError::ConnectionRefused));
}

#[tokio::test]
async fn a_pod_has_both_families_and_each_finds_the_other() {
    let switch = Switch::new(SwitchConfig::default());
    let a = dual_pod(&switch, "a", "10.1.0.1", "fd00::1");
    let b = dual_pod(&switch, "b", "10.1.0.2", "fd00::2");
    let server = a.udp_bind(at("[::]:53")).unwrap();
    let client = b.udp_bind(at("[::]:0")).unwrap();
    client.connect(Some(at("[fd00::1]:53"))).unwrap();
    client.send(text("six"), None).unwrap();
    let got = server.recv().await.unwrap();
    assert_eq!(got.source, client.local_addr());
    assert_eq!(got.source.ip(), "fd00::2".parse::<IpAddr>().unwrap());
    // The wildcard of one family does not take the other's.
    let four = b.udp_bind(at("0.0.0.0:0")).unwrap();
    four.connect(Some(at("10.1.0.1:53"))).unwrap();
    four.send(text("four"), None).unwrap();
    assert_eq!(four.recv().await, Err(NetError::ConnectionRefused));
}

#[tokio::test]
async fn a_stopped_pod_wakes_whoever_waits() {
    let switch = Switch::new(SwitchConfig::default());
    let a = pod(&switch, "a", "10.1.0.1");
    let socket = Arc::new(a.udp_bind(at("0.0.0.0:53")).unwrap());
    let waiting = tokio::spawn({
        let socket = Arc::clone(&socket);
        async move { socket.recv().await }
    });
    tokio::task::yield_now().await;
    a.close();
    assert_eq!(waiting.await.unwrap(), Err(NetError::InvalidState));
    assert_eq!(
        socket.send(text("x"), Some(at("127.0.0.1:53"))),
        Err(NetError::InvalidState)
    );
    assert_eq!(
        a.udp_bind(at("0.0.0.0:0")).unwrap_err(),
        NetError::InvalidState
    );
}
