//! Names are found as pods are used to.

use super::*;
use crate::{
    service::{Endpoint, EndpointSlice, Protocol, Service, ServiceKind, ServicePort, SlicePort},
    vip,
};

/// Services of every kind.
pub(crate) fn names() -> vip::VipTable {
    let service = |namespace: &str, name: &str, kind: ServiceKind, ip: &[&str]| Service {
        namespace: namespace.into(),
        name: name.into(),
        kind,
        addresses: ip.iter().map(|ip| ip.parse().unwrap()).collect(),
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        ..Service::default()
    };
    let endpoint = |ip: &str, host: &str, ready: bool| Endpoint {
        addresses: vec![ip.parse().unwrap()],
        ready,
        serving: ready,
        hostname: Some(host.to_owned()),
        ..Endpoint::default()
    };
    let slice = EndpointSlice {
        namespace: "default".into(),
        service: "db".into(),
        ports: vec![SlicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 5432,
        }],
        endpoints: vec![
            endpoint("10.1.0.5", "db-0", true),
            endpoint("10.1.0.6", "db-1", true),
            endpoint("10.1.0.7", "db-2", false),
        ],
    };
    let alias =
        |name: &str, to: &str| service("default", name, ServiceKind::ExternalName(to.into()), &[]);
    let many = EndpointSlice {
        service: "many".into(),
        endpoints: (1..=100)
            .map(|last| endpoint(&format!("10.2.0.{last}"), &format!("m-{last}"), true))
            .collect(),
        ..slice.clone()
    };
    vip::build(
        &[
            service("default", "web", ServiceKind::Virtual, &["10.96.0.10"]),
            service("shop", "web", ServiceKind::Virtual, &["10.96.0.11"]),
            service("default", "db", ServiceKind::Headless, &[]),
            service("default", "many", ServiceKind::Headless, &[]),
            alias("out", "example.com"),
            alias("inner", "web.default.svc.cluster.local"),
            alias("loop", "loop.default.svc.cluster.local."),
        ],
        &[slice, many],
        &crate::service::Place::default(),
    )
}

fn look(name: &str) -> Result<Vec<String>, NetError> {
    let from = PodIdentity {
        namespace: "default".into(),
        name: "p".into(),
        uid: "u".into(),
        ip: "10.1.0.9".parse().unwrap(),
        hostname: "p".into(),
        subdomain: None,
    };
    let found = lookup(name, &from, names().names(), "cluster.local")?;
    Ok(found.iter().map(ToString::to_string).collect())
}

#[test]
fn services_are_found_by_every_form_of_their_name() {
    for name in [
        "web",
        "WEB",
        "web.default",
        "web.default.svc",
        "web.default.svc.cluster.local",
        "web.default.svc.cluster.local.",
    ] {
        assert_eq!(look(name).unwrap(), ["10.96.0.10"], "{name}");
    }
    assert_eq!(look("web.shop").unwrap(), ["10.96.0.11"]);
    assert_eq!(look("db").unwrap(), ["10.1.0.5", "10.1.0.6"]);
    assert_eq!(look("db-1.db").unwrap(), ["10.1.0.6"]);
    assert_eq!(look("inner").unwrap(), ["10.96.0.10"], "an alias");
    assert_eq!(
        look("10-1-2-3.default.pod.cluster.local").unwrap(),
        ["10.1.2.3"]
    );
    assert_eq!(look("p").unwrap(), ["10.1.0.9"]);
    assert_eq!(look("localhost").unwrap(), ["127.0.0.1", "::1"]);
    assert_eq!(look("10.1.2.3").unwrap(), ["10.1.2.3"]);
    assert_eq!(look("[fd00::0]").unwrap(), ["fd00::"]);
    assert_eq!(look("DEAD:beef::0").unwrap(), ["dead:beef::"]);
}

#[test]
fn unknown_names_are_not_resolvable_and_nonsense_is_no_name() {
    for name in [
        "nobody",
        "web.",
        "db-2.db",
        "db-9.db",
        "out",
        "loop",
        "example.com",
        "web.default.svc.other",
    ] {
        assert_eq!(look(name), Err(NetError::NameUnresolvable), "{name}");
    }
    for name in [
        "",
        ".",
        "a..b",
        "-a",
        "a b",
        "[::]:80",
        "[127.0.0.1]",
        "127.0.0.1:80",
        "ä",
        &"a".repeat(64),
        &"a.".repeat(200),
    ] {
        assert_eq!(look(name), Err(NetError::InvalidArgument), "{name}");
    }
}
