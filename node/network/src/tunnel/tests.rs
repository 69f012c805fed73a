//! Nodes in one process, over the kernel's loopback. What happens to them when links are lost is in `tests/nodes`, where each is a host of its own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    authority::{Authority, Papers},
    *,
};
use crate::{
    policy::{self, Policies, Policy, Rule, Selector},
    service::{Endpoint, Protocol},
    stack::PodStack,
    switch::SwitchConfig,
    testing::{at, endpoint, pod, program, service, slice},
};

const DEADLINE: Duration = Duration::from_secs(20);

struct Node {
    switch: Arc<Switch>,
    tunnels: Arc<Tunnels>,
    pod: Arc<PodStack>,
    /// Where it takes links.
    address: SocketAddr,
}

/// Node number `number`, with one pod at 10.NUMBER.0.2. It listens if it is to.
async fn node(papers: &Papers, number: u8, listens: bool) -> Node {
    let switch = Switch::new(SwitchConfig {
        connect_timeout: Duration::from_secs(5),
        ..SwitchConfig::default()
    });
    let identity = papers.identity(&name(number));
    let tunnels = Tunnels::new(&switch, identity, TunnelConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    if listens {
        tunnels.listen(listener);
    }
    let pod = pod(&switch, &name(number), &format!("10.{number}.0.2"));
    Node {
        switch,
        tunnels,
        pod,
        address,
    }
}

fn name(number: u8) -> String {
    format!("node-{number}")
}

fn peer(number: u8, dial: Option<SocketAddr>) -> Peer {
    Peer {
        node: name(number),
        ranges: vec![format!("10.{number}.0.0/24").parse().unwrap()],
        dial: dial.into_iter().collect(),
    }
}

/// Two nodes that know each other; the first listens, and the second if it is to.
async fn pair(second_listens: bool) -> (Node, Node) {
    let authority = Authority::new();
    let a = node(&authority.papers(&name(1)), 1, true).await;
    let b = node(&authority.papers(&name(2)), 2, second_listens).await;
    introduce(&a, &b, second_listens);
    (a, b)
}

fn introduce(a: &Node, b: &Node, second_listens: bool) {
    let dial_b = second_listens.then_some(b.address);
    let peers = vec![peer(1, Some(a.address)), peer(2, dial_b)];
    a.tunnels.set_peers(peers.clone());
    b.tunnels.set_peers(peers);
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("it took too long")
}

/// A question there and an answer back.
async fn talk(from: &PodStack, to: &PodStack) {
    let listener = to.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    let target = SocketAddr::new(to.identity().ip, 80);
    let mut client = within(from.tcp_connect(target)).await.unwrap();
    let mut server = within(listener.accept()).await.unwrap();
    assert_eq!(server.peer_addr(), client.local_addr());
    assert_eq!(server.peer_addr().ip(), from.identity().ip);
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    within(server.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "question");
    let long = vec![7; 1 << 20];
    let sent = long.clone();
    let sending = tokio::spawn(async move {
        server.write_all(&sent).await.unwrap();
        drop(server);
    });
    let mut heard = Vec::new();
    within(client.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, long);
    sending.await.unwrap();
}

#[tokio::test]
async fn pods_of_two_nodes_talk_both_ways_over_one_link() {
    let (a, b) = pair(true).await;
    talk(&a.pod, &b.pod).await;
    // The same link carries what the other side begins.
    talk(&b.pod, &a.pod).await;
    assert_eq!(a.tunnels.next.load(Ordering::Relaxed), 1);
    assert_eq!(b.tunnels.next.load(Ordering::Relaxed), 1);
    within(a.tunnels.close()).await;
    within(b.tunnels.close()).await;
}

#[tokio::test]
async fn a_node_that_lets_nothing_in_is_reached_over_the_link_it_opened() {
    let (a, b) = pair(false).await;
    talk(&a.pod, &b.pod).await;
    talk(&b.pod, &a.pod).await;
    assert_eq!(a.tunnels.linked(), ["node-2"]);
}

#[tokio::test]
async fn what_goes_wrong_there_is_told_here() {
    for (from, to) in [(true, true), (false, true), (false, false)] {
        let (a, b) = pair(from).await;
        let (here, there) = if to { (&a, &b) } else { (&b, &a) };
        let ip = there.pod.identity().ip;
        let connect = async |to: SocketAddr| within(here.pod.tcp_connect(to)).await.map(drop);
        assert_eq!(
            connect(SocketAddr::new(ip, 9)).await,
            Err(NetError::ConnectionRefused)
        );
        let number = if to { 2 } else { 1 };
        let nobody = at(&format!("10.{number}.0.77:9"));
        assert_eq!(connect(nobody).await, Err(NetError::RemoteUnreachable));
        assert_eq!(
            connect(at("10.9.0.1:9")).await,
            Err(NetError::RemoteUnreachable)
        );
        // A reset is one over there, too.
        let listener = there.pod.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
        let mut client = within(here.pod.tcp_connect(SocketAddr::new(ip, 80)))
            .await
            .unwrap();
        let server = within(listener.accept()).await.unwrap();
        client.write_all(b"unread").await.unwrap();
        within(server.readable()).await;
        drop(server);
        let broken = within(client.read(&mut [0; 8])).await.unwrap_err();
        assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_else() {
    let (a, b) = pair(true).await;
    let deaf = b.pod.tcp_listen(at("0.0.0.0:81"), 256).unwrap();
    let mut held = Vec::new();
    for _ in 0..100 {
        let client = within(a.pod.tcp_connect(at("10.2.0.2:81"))).await.unwrap();
        // As much as fits: until it does not for a while.
        let mut written = 0;
        loop {
            let mut chunk = Bytes::from(vec![0; 64 << 10]);
            match client.try_write(&mut chunk) {
                Ok(size) => written += size,
                Err(NetError::WouldBlock) => {
                    let room = timeout(Duration::from_millis(5), client.writable()).await;
                    if room.is_err() {
                        break;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(written < 2 << 20, "{written} bytes are buffered");
        held.push(client);
    }
    talk(&a.pod, &b.pod).await;
    drop(deaf);
}

#[tokio::test]
async fn datagrams_and_services_cross() {
    for second_listens in [true, false] {
        let (a, b) = pair(second_listens).await;
        for (here, there) in [(&a, &b), (&b, &a)] {
            let ip = there.pod.identity().ip.to_string();
            let of_there = Endpoint {
                node: Some(there.pod.identity().name.clone()),
                ..endpoint(&ip)
            };
            let udp = service("10.96.0.10", Protocol::Udp);
            program(&here.switch, udp, slice(Protocol::Udp, vec![of_there]));
            let server = there.pod.udp_bind(at("0.0.0.0:8080")).unwrap();
            let client = here.pod.udp_bind(at("0.0.0.0:0")).unwrap();
            client.connect(Some(at("10.96.0.10:53"))).unwrap();
            client.send(Bytes::from_static(b"question"), None).unwrap();
            let question = within(server.recv()).await.unwrap();
            assert_eq!(question.source, client.local_addr());
            server
                .send(Bytes::from_static(b"answer"), Some(question.source))
                .unwrap();
            let answer = within(client.recv()).await.unwrap();
            assert_eq!(
                (answer.data, answer.source),
                (Bytes::from_static(b"answer"), at("10.96.0.10:53"))
            );
        }
    }
}

#[tokio::test]
async fn impostors_are_not_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let a = node(&authority.papers(&name(1)), 1, true).await;
    // A certificate of somebody else's authority, one of another node, one of no node that is known.
    let foreign = node(&other.papers(&name(2)), 2, true).await;
    let stolen = node(&authority.papers(&name(3)), 2, true).await;
    for impostor in [&foreign, &stolen] {
        let peers = vec![peer(1, Some(a.address)), peer(2, Some(impostor.address))];
        a.tunnels.set_peers(peers.clone());
        impostor.tunnels.set_peers(peers);
        for (node, port) in [(&a, impostor.address), (impostor, a.address)] {
            let other = if port == a.address { name(1) } else { name(2) };
            let dialled = within(node.tunnels.dial(&other, port)).await;
            let Ok(link) = dialled else { continue };
            // TLS 1.3 lets the caller think that it is in; the first word shows that it is not.
            let opened = within(link.open(&node.tunnels, at("10.2.0.2:1"), at("10.1.0.2:80")));
            assert!(opened.await.is_err());
        }
        assert!(a.tunnels.linked().is_empty());
    }
}

#[tokio::test]
async fn a_node_does_not_speak_for_the_pods_of_another() {
    let (a, b) = pair(true).await;
    let _listener = b.pod.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    let link = within(a.tunnels.link(&name(2))).await.unwrap();
    for (source, allowed) in [
        ("10.1.0.2:999", true),
        ("203.0.113.9:999", true),
        ("10.2.0.2:999", false),
    ] {
        let opened = within(link.open(&a.tunnels, at(source), at("10.2.0.2:80"))).await;
        assert_eq!(opened.is_ok(), allowed, "{source}");
    }
}

#[tokio::test]
async fn a_node_that_comes_back_is_linked_again() {
    let authority = Authority::new();
    let (papers_a, papers_b) = (authority.papers(&name(1)), authority.papers(&name(2)));
    let a = node(&papers_a, 1, true).await;
    let b = node(&papers_b, 2, true).await;
    introduce(&a, &b, true);
    let listener = b.pod.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    let mut old = within(a.pod.tcp_connect(at("10.2.0.2:80"))).await.unwrap();
    let _server = within(listener.accept()).await.unwrap();
    within(b.tunnels.close()).await;
    let broken = within(old.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    // Whoever connects meanwhile waits for it.
    let waiting = tokio::spawn(a.pod.tcp_connect(at("10.2.0.2:80")));
    let again = node(&papers_b, 2, true).await;
    let listener = again.pod.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
    introduce(&a, &again, true);
    within(waiting).await.unwrap().unwrap();
    within(listener.accept()).await.unwrap();
}

/// A policy for `app=NAME`: what may come in, and go out, by the name of the other.
fn only_with(name: &str, ingress: Option<&str>, egress: Option<&str>) -> Policies {
    let only = |other: &str| {
        vec![Rule {
            peers: vec![policy::Peer::Pods {
                namespaces: None,
                pods: Some(Selector::label("app", other)),
            }],
            ports: Vec::new(),
        }]
    };
    let policy = Policy {
        namespace: "default".into(),
        name: "only".into(),
        pods: Selector::label("app", name),
        ingress: ingress.map(only),
        egress: egress.map(only),
    };
    Policies::new(vec![policy], std::collections::BTreeMap::new())
}

fn called(name: &str) -> PodFacts {
    PodFacts {
        namespace: "default".into(),
        name: name.into(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        ports: Vec::new(),
    }
}

#[tokio::test]
async fn policies_know_pods_of_other_nodes_by_their_labels_as_they_are() {
    for second_listens in [true, false] {
        let (a, b) = pair(second_listens).await;
        a.pod.set_facts(called("web"));
        b.pod.set_facts(called("db"));
        let _listener = b.pod.tcp_listen(at("0.0.0.0:80"), 16).unwrap();
        let socket = a.pod.udp_bind(at("0.0.0.0:9")).unwrap();
        let server = b.pod.udp_bind(at("0.0.0.0:53")).unwrap();
        let connect = async || within(a.pod.tcp_connect(at("10.2.0.2:80"))).await.map(drop);
        let ask = || socket.send(Bytes::from_static(b"x"), Some(at("10.2.0.2:53")));
        // Decided where it arrives.
        b.switch.set_policies(only_with("db", Some("web"), None));
        assert_eq!(connect().await, Ok(()));
        ask().unwrap();
        let question = within(server.recv()).await.unwrap();
        server
            .send(Bytes::from_static(b"y"), Some(question.source))
            .unwrap();
        within(socket.recv()).await.unwrap();
        b.switch.set_policies(only_with("db", Some("other"), None));
        assert_eq!(connect().await, Err(NetError::AccessDenied));
        assert_eq!(b.pod.traffic().denied, 1);
        // Decided where it begins, and by labels that change.
        b.switch.set_policies(Policies::default());
        a.switch.set_policies(only_with("web", None, Some("db")));
        assert_eq!(connect().await, Ok(()));
        b.pod.set_facts(called("other"));
        let denied = within(async {
            loop {
                match connect().await {
                    Ok(()) => tokio::task::yield_now().await,
                    denied => return denied,
                }
            }
        });
        assert_eq!(denied.await, Err(NetError::AccessDenied));
        assert_eq!(ask(), Err(NetError::AccessDenied));
        b.pod.set_facts(called("db"));
        within(async {
            while connect().await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
