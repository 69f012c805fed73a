//! What the tests of this crate share: pods on a switch, Services over them.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    service::{Endpoint, EndpointSlice, Place, Protocol, Service, ServicePort, SlicePort},
    stack::{PodIdentity, PodStack},
    switch::Switch,
    vip,
};

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn identity(name: &str, ip: &str) -> PodIdentity {
    PodIdentity {
        namespace: "default".into(),
        name: name.into(),
        uid: name.into(),
        ip: ip.parse().unwrap(),
        hostname: name.into(),
        subdomain: None,
    }
}

pub(crate) fn pod(switch: &Arc<Switch>, name: &str, ip: &str) -> Arc<PodStack> {
    switch.attach(identity(name, ip)).unwrap()
}

pub(crate) fn dual_pod(switch: &Arc<Switch>, name: &str, ip: &str, other: &str) -> Arc<PodStack> {
    let more = [other.parse().unwrap()];
    switch.attach_with(identity(name, ip), &more).unwrap()
}

/// A Service `web` in `default` with one port `main`: 53 for UDP, 80 for TCP.
pub(crate) fn service(ip: &str, protocol: Protocol) -> Service {
    Service {
        namespace: "default".into(),
        name: "web".into(),
        addresses: vec![ip.parse().unwrap()],
        ports: vec![ServicePort {
            name: "main".into(),
            protocol,
            port: if protocol == Protocol::Udp { 53 } else { 80 },
            node_port: None,
        }],
        ..Service::default()
    }
}

pub(crate) fn endpoint(ip: &str) -> Endpoint {
    Endpoint {
        addresses: vec![ip.parse().unwrap()],
        ..Endpoint::default()
    }
}

/// A slice of `web` with its port at 8080.
pub(crate) fn slice(protocol: Protocol, endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        namespace: "default".into(),
        service: "web".into(),
        ports: vec![SlicePort {
            name: "main".into(),
            protocol,
            port: 8080,
        }],
        endpoints,
    }
}

/// Makes the switch's only Service one over the pods with these addresses.
pub(crate) fn serve(switch: &Switch, ip: &str, protocol: Protocol, backends: &[&str]) {
    let endpoints = backends.iter().map(|ip| endpoint(ip)).collect();
    program(switch, service(ip, protocol), slice(protocol, endpoints));
}

/// Makes these the switch's only Service and slice.
pub(crate) fn program(switch: &Switch, service: Service, slice: EndpointSlice) {
    let table = vip::build(&[service], &[slice], &Place::default());
    let ops = switch.with_table(|old| vip::diff(old, &table));
    switch.apply(ops);
}
