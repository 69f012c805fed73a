//! What Services and endpoints become for a node.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::{
    service::Endpoint,
    testing::{endpoint, service, slice},
};

fn place() -> Place {
    Place {
        node: "here".into(),
        zone: String::new(),
        node_addresses: vec![
            "192.168.0.1".parse().unwrap(),
            "192.168.0.2".parse().unwrap(),
        ],
    }
}

fn key(ip: &str, port: u16) -> VipKey {
    VipKey {
        ip: ip.parse().unwrap(),
        port,
        protocol: Protocol::Tcp,
    }
}

fn web() -> Service {
    service("10.96.0.1", Protocol::Tcp)
}

fn texts(backends: &Backends) -> Vec<String> {
    backends.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    let mut web = web();
    web.ports.push(ServicePort {
        name: "metrics".into(),
        protocol: Protocol::Tcp,
        port: 9090,
        node_port: None,
    });
    let mut slice = slice(
        Protocol::Tcp,
        vec![endpoint("10.1.0.2"), endpoint("10.1.0.1")],
    );
    slice.ports.push(crate::service::SlicePort {
        name: "metrics".into(),
        protocol: Protocol::Tcp,
        port: 9999,
    });
    slice.ports.push(crate::service::SlicePort {
        name: "main".into(),
        protocol: Protocol::Udp,
        port: 1,
    });
    let table = build(&[web], &[slice], &place());
    let main = table.get(&key("10.96.0.1", 80)).unwrap();
    assert_eq!(texts(&main.inside), ["10.1.0.1:8080", "10.1.0.2:8080"]);
    let metrics = table.get(&key("10.96.0.1", 9090)).unwrap();
    assert_eq!(texts(&metrics.inside), ["10.1.0.1:9999", "10.1.0.2:9999"]);
    assert!(table.get(&key("10.96.0.1", 8080)).is_none());
}

#[test]
fn pods_that_are_not_ready_are_used_where_the_service_wants_them() {
    let unready = Endpoint {
        ready: false,
        serving: false,
        ..endpoint("10.1.0.1")
    };
    let slice = slice(Protocol::Tcp, vec![unready]);
    let mut web = web();
    let table = build(&[web.clone()], std::slice::from_ref(&slice), &place());
    assert!(
        table
            .get(&key("10.96.0.1", 80))
            .unwrap()
            .inside
            .addresses
            .is_empty()
    );
    web.publish_not_ready = true;
    let table = build(&[web], &[slice], &place());
    assert_eq!(
        texts(&table.get(&key("10.96.0.1", 80)).unwrap().inside),
        ["10.1.0.1:8080"]
    );
}

#[test]
fn policies_of_inside_and_outside_are_apart() {
    let on = |ip, node: &str| Endpoint {
        node: Some(node.into()),
        ..endpoint(ip)
    };
    let slice = slice(
        Protocol::Tcp,
        vec![on("10.1.0.1", "here"), on("10.2.0.1", "there")],
    );
    let mut web = web();
    web.external_policy = TrafficPolicy::Local;
    web.external_addresses = vec!["203.0.113.5".parse().unwrap()];
    web.ports[0].node_port = Some(30080);
    let table = build(&[web.clone()], std::slice::from_ref(&slice), &place());
    let own = table.get(&key("10.96.0.1", 80)).unwrap();
    assert_eq!(own.inside.addresses.len(), 2);
    assert_eq!(texts(&own.outside), ["10.1.0.1:8080"]);
    // From inside, addresses of outside and those of nodes lead to all pods.
    for from_inside in [key("203.0.113.5", 80), key("192.168.0.2", 30080)] {
        let vip = table.get(&from_inside).unwrap();
        assert_eq!(vip.inside.addresses.len(), 2, "{from_inside:?}");
    }
    web.internal_policy = TrafficPolicy::Local;
    let elsewhere = Place {
        node: "third".into(),
        ..place()
    };
    let table = build(&[web], &[slice], &elsewhere);
    let own = table.get(&key("10.96.0.1", 80)).unwrap();
    assert!(own.inside.is_elsewhere && own.inside.addresses.is_empty());
}

#[test]
fn a_dual_stack_service_keeps_the_families_apart() {
    let mut web = web();
    web.addresses.push("fd00:96::1".parse().unwrap());
    let both = vec![endpoint("10.1.0.1"), endpoint("fd00::1")];
    let table = build(&[web], &[slice(Protocol::Tcp, both)], &place());
    let six = table.get(&key("fd00:96::1", 80)).unwrap();
    assert_eq!(texts(&six.inside), ["[fd00::1]:8080"]);
    let four = table.get(&key("10.96.0.1", 80)).unwrap();
    assert_eq!(texts(&four.inside), ["10.1.0.1:8080"]);
}

#[test]
fn nodes_open_node_ports_and_those_they_balance() {
    let mut web = web();
    web.ports[0].node_port = Some(30080);
    let mut balanced = service("10.96.0.2", Protocol::Tcp);
    balanced.name = "balanced".into();
    balanced.is_opened_by_nodes = true;
    balanced.ports[0].port = 8443;
    let ports = build(&[web, balanced], &[], &place()).node_ports();
    let numbers: Vec<_> = ports
        .iter()
        .map(|((number, _), key)| (*number, *key))
        .collect();
    assert_eq!(
        numbers,
        [
            (8443, key("10.96.0.2", 8443)),
            (30080, key("10.96.0.1", 80)),
        ]
    );
}

fn worlds() -> impl Strategy<Value = (Vec<Service>, Vec<EndpointSlice>)> {
    let one = (
        (0_u8..4, 0_u8..4, any::<bool>(), any::<bool>()),
        proptest::collection::vec((0_u8..6, any::<bool>(), any::<bool>()), 0..4),
    );
    proptest::collection::btree_map(0_u8..5, one, 0..5).prop_map(|world| {
        let mut services = Vec::new();
        let mut slices = Vec::new();
        for (name, ((ip, port, local, outside), endpoints)) in world {
            let mut service = service(&Ipv4Addr::new(10, 96, 0, ip).to_string(), Protocol::Tcp);
            service.name = format!("s{name}");
            service.ports[0].port = 80 + u16::from(port);
            service.ports[0].node_port = outside.then_some(30000 + u16::from(port));
            if local {
                service.internal_policy = TrafficPolicy::Local;
                service.external_addresses = vec![[203, 0, 113, ip].into()];
            }
            let endpoint = |(last, ready, here): (u8, bool, bool)| Endpoint {
                ready,
                terminating: !ready,
                node: Some(if here { "here" } else { "there" }.into()),
                ..endpoint(&Ipv4Addr::new(10, 1, 0, last).to_string())
            };
            let mut slice = slice(Protocol::Tcp, endpoints.into_iter().map(endpoint).collect());
            slice.service = service.name.clone();
            services.push(service);
            slices.push(slice);
        }
        (services, slices)
    })
}

proptest! {
    #[test]
    fn differences_lead_from_one_table_to_the_other((a, b) in (worlds(), worlds())) {
        let (mut old, new) = (build(&a.0, &a.1, &place()), build(&b.0, &b.1, &place()));
        for op in diff(&old, &new) {
            old.apply(op);
        }
        prop_assert_eq!(&old, &new);
        prop_assert!(diff(&old, &new).is_empty());
    }

    #[test]
    fn the_order_of_objects_does_not_matter((mut services, mut slices) in worlds()) {
        let table = build(&services, &slices, &place());
        services.reverse();
        slices.reverse();
        prop_assert_eq!(table.node_ports(), build(&services, &slices, &place()).node_ports());
        prop_assert_eq!(table, build(&services, &slices, &place()));
    }
}
