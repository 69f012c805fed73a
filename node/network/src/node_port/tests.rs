//! Ports of the node lead to pods.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream as KernelStream, UdpSocket as KernelSocket},
};

use bytes::Bytes;

use super::*;
use crate::{
    switch::SwitchConfig,
    testing::{at, endpoint, pod, program, service, slice},
    vip,
};

#[tokio::test]
async fn a_node_port_leads_to_a_pod_and_closes_with_its_service() {
    let switch = Switch::new(SwitchConfig::default());
    let stack = pod(&switch, "p", "10.1.0.1");
    let listener = stack.tcp_listen(at("0.0.0.0:8080"), 16).unwrap();
    // A port that is free now; the kernel does not give it out again at once.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut service = service("10.96.0.10", Protocol::Tcp);
    service.ports[0].node_port = Some(free);
    program(
        &switch,
        service,
        slice(Protocol::Tcp, vec![endpoint("10.1.0.1")]),
    );
    let ports = NodePorts::new(Arc::clone(&switch), vec!["127.0.0.1".parse().unwrap()]);
    assert!(ports.reconcile().await.is_empty());
    let mut outside = KernelStream::connect(("127.0.0.1", free)).await.unwrap();
    outside.write_all(b"knock").await.unwrap();
    outside.shutdown().await.unwrap();
    let mut inside = listener.accept().await.unwrap();
    let mut heard = String::new();
    inside.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "knock");
    inside.write_all(b"come in").await.unwrap();
    drop(inside);
    heard.clear();
    outside.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "come in");
    assert_eq!(ports.traffic(free).unwrap().connected, 1);
    switch.apply(switch.with_table(|old| vip::diff(old, &vip::VipTable::default())));
    assert!(ports.reconcile().await.is_empty());
    ports.close().await;
    assert!(KernelStream::connect(("127.0.0.1", free)).await.is_err());
}

fn free_udp_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn local_ports(switch: &Arc<Switch>) -> NodePorts {
    NodePorts::new(Arc::clone(switch), vec!["127.0.0.1".parse().unwrap()])
}

#[tokio::test]
async fn datagrams_from_outside_reach_one_pod_and_its_answers_come_back() {
    let switch = Switch::new(SwitchConfig::default());
    let stacks = [pod(&switch, "a", "10.1.0.1"), pod(&switch, "b", "10.1.0.2")];
    let servers = stacks.map(|stack| stack.udp_bind(at("0.0.0.0:8080")).unwrap());
    let free = free_udp_port();
    let mut service = service("10.96.0.10", Protocol::Udp);
    service.ports[0].node_port = Some(free);
    let both = vec![endpoint("10.1.0.1"), endpoint("10.1.0.2")];
    program(&switch, service, slice(Protocol::Udp, both));
    let ports = local_ports(&switch);
    assert!(ports.reconcile().await.is_empty());
    let [one, other] = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    for client in [one, other] {
        client.set_nonblocking(true).unwrap();
        let client = KernelSocket::from_std(client).unwrap();
        client.connect(("127.0.0.1", free)).await.unwrap();
        client.send(b"question").await.unwrap();
        let (first, rest) = servers.split_first().unwrap();
        let (got, server) = tokio::select! {
            got = first.recv() => (got, first),
            got = rest[0].recv() => (got, &rest[0]),
        };
        let got = got.unwrap();
        assert_eq!(got.data, "question");
        assert!(!got.source.ip().is_loopback(), "a pod cannot answer that");
        client.send(b"again").await.unwrap();
        assert_eq!(server.recv().await.unwrap().source, got.source);
        server
            .send(Bytes::from_static(b"answer"), Some(got.source))
            .unwrap();
        let mut heard = [0; 16];
        let size = client.recv(&mut heard).await.unwrap();
        assert_eq!(&heard[..size], b"answer");
    }
    ports.close().await;
    // Nobody outside is left to be answered.
    let lost = servers[0].send(Bytes::new(), Some(at("192.0.2.1:9")));
    assert_eq!(lost, Err(crate::NetError::RemoteUnreachable));
}

#[tokio::test]
async fn a_host_port_leads_to_its_pod_while_it_is_there() {
    let switch = Switch::new(SwitchConfig::default());
    let stack = pod(&switch, "p", "10.1.0.1");
    let listener = stack.tcp_listen(at("0.0.0.0:8080"), 16).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let mut changes = switch.changes();
    changes.mark_unchanged();
    stack.set_host_ports(vec![HostPort {
        address: None,
        port,
        protocol: Protocol::Tcp,
        pod_port: 8080,
    }]);
    assert!(
        changes.has_changed().unwrap(),
        "whoever opens ports is told"
    );
    let ports = local_ports(&switch);
    // Somebody else has the port: that is told, and tried again.
    assert_eq!(ports.reconcile().await.len(), 1);
    drop(free);
    assert!(ports.reconcile().await.is_empty());
    let outside = KernelStream::connect(("127.0.0.1", port)).await.unwrap();
    listener.accept().await.unwrap();
    drop(outside);
    changes.mark_unchanged();
    stack.close();
    assert!(changes.has_changed().unwrap());
    assert!(ports.reconcile().await.is_empty());
    assert!(ports.open.lock().is_empty());
    ports.close().await;
}
