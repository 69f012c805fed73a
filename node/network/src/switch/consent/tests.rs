//! Policies are enforced where they say.

use bytes::Bytes;

use super::*;
use crate::{
    policy::{Policy, Rule, Selector},
    switch::SwitchConfig,
    testing::{at, pod, serve},
};

fn facts(name: &str) -> PodFacts {
    PodFacts {
        namespace: "default".into(),
        name: name.into(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        ports: Vec::new(),
    }
}

fn labelled(switch: &Arc<Switch>, name: &str, ip: &str) -> Arc<PodStack> {
    let stack = pod(switch, name, ip);
    stack.set_facts(facts(name));
    stack
}

/// The pods called `name` take from, or reach, only those called `other`.
fn only(name: &str, ingress: Option<&str>, egress: Option<&str>) -> Policies {
    let rules = |other: &str| {
        vec![Rule {
            peers: vec![crate::policy::Peer::Pods {
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
        ingress: ingress.map(rules),
        egress: egress.map(rules),
    };
    Policies::new(vec![policy], std::collections::BTreeMap::new())
}

#[tokio::test]
async fn connections_need_the_consent_of_both_ends() {
    let switch = Switch::new(SwitchConfig::default());
    let (db, web, other) = (
        labelled(&switch, "db", "10.1.0.1"),
        labelled(&switch, "web", "10.1.0.2"),
        labelled(&switch, "other", "10.1.0.3"),
    );
    let _db = db.tcp_listen(at("0.0.0.0:8080"), 16).unwrap();
    let _other = other.tcp_listen(at("0.0.0.0:8080"), 16).unwrap();
    serve(&switch, "10.96.0.10", Protocol::Tcp, &["10.1.0.1"]);
    let (tell, mut told) = tokio::sync::mpsc::channel(4);
    switch.set_denials(tell);
    switch.set_policies(only("db", Some("web"), None));
    for target in ["10.1.0.1:8080", "10.96.0.10:80"] {
        web.tcp_connect(at(target)).await.unwrap();
        let denied = other.tcp_connect(at(target)).await.unwrap_err();
        assert_eq!(denied, NetError::AccessDenied, "{target}");
        // The node's probes and the pod itself are let through.
        switch.connect_from_host(at(target)).await.unwrap();
        db.tcp_connect(at(target)).await.unwrap();
    }
    assert_eq!(db.traffic().denied, 2);
    let denial = told.recv().await.unwrap();
    assert_eq!(denial.pod, ("default".into(), "db".into()));
    assert_eq!(denial.source, other.identity().ip);
    switch.set_policies(only("web", None, Some("db")));
    web.tcp_connect(at("10.1.0.1:8080")).await.unwrap();
    let denied = web.tcp_connect(at("10.1.0.3:8080")).await.unwrap_err();
    assert_eq!(denied, NetError::AccessDenied);
    assert_eq!(web.traffic().denied, 1);
    // Labels count as they are when somebody connects.
    other.set_facts(facts("db"));
    web.tcp_connect(at("10.1.0.3:8080")).await.unwrap();
    switch.set_policies(Policies::default());
}

#[tokio::test]
async fn every_datagram_is_looked_at_and_answers_are_let_through() {
    let switch = Switch::new(SwitchConfig::default());
    let (db, web, other) = (
        labelled(&switch, "db", "10.1.0.1"),
        labelled(&switch, "web", "10.1.0.2"),
        labelled(&switch, "other", "10.1.0.3"),
    );
    let [server, client, stranger] =
        [&db, &web, &other].map(|stack| stack.udp_bind(at("0.0.0.0:8080")).unwrap());
    let data = || Bytes::from_static(b"x");
    // It takes from `web` alone, and begins nothing itself.
    let nobody = only("db", Some("web"), Some("nobody"));
    switch.set_policies(nobody.clone());
    let to_server = Some(at("10.1.0.1:8080"));
    assert_eq!(
        stranger.send(data(), to_server),
        Err(NetError::AccessDenied)
    );
    client.send(data(), to_server).unwrap();
    let question = server.recv().await.unwrap();
    server.send(data(), Some(question.source)).unwrap();
    assert_eq!(client.recv().await.unwrap().source, at("10.1.0.1:8080"));
    let to_stranger = Some(at("10.1.0.3:8080"));
    assert_eq!(
        server.send(data(), to_stranger),
        Err(NetError::AccessDenied)
    );
    assert_eq!(stranger.try_recv(), Err(NetError::WouldBlock));
    // What a conversation was allowed by may change.
    switch.set_policies(only("db", Some("nobody"), None));
    assert_eq!(client.send(data(), to_server), Err(NetError::AccessDenied));
    switch.set_policies(nobody);
    assert_eq!(
        server.send(data(), Some(question.source)),
        Err(NetError::AccessDenied),
        "nobody asked since"
    );
}
