//! The table of virtual addresses, as a pure function of Services and endpoints, and the difference of two tables. Looking an address up is one
//! hash, however many Services there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    dns::Names,
    service::{Endpoint, EndpointSlice, Protocol, Service, ServiceKind},
};

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VipKey {
    /// The virtual address.
    pub ip: IpAddr,
    /// The port there.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// Where connections to a virtual address and port go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// `namespace/name:port`, for people.
    pub service: String,
    /// The pods, ordered. Empty: connections are refused.
    pub backends: Vec<SocketAddr>,
    /// Keeps a client with its pod for so long.
    pub affinity: Option<Duration>,
    /// The port at every node that leads here too.
    pub node_port: Option<u16>,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipTable {
    vips: HashMap<VipKey, Vip>,
    names: Names,
}

/// One difference between tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableOp {
    /// The address leads there from now on.
    Set(VipKey, Vip),
    /// The address is nobody's any more.
    Remove(VipKey),
    /// Names changed.
    Names(Names),
}

impl VipTable {
    /// Where an address leads.
    #[must_use]
    pub fn get(&self, key: &VipKey) -> Option<&Vip> {
        self.vips.get(key)
    }

    /// The names of Services and their pods.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// All addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&VipKey, &Vip)> {
        self.vips.iter()
    }

    /// The node ports and where they lead.
    #[must_use]
    pub fn node_ports(&self) -> BTreeMap<(u16, Protocol), VipKey> {
        let ports = self
            .vips
            .iter()
            .filter_map(|(key, vip)| Some(((vip.node_port?, key.protocol), *key)));
        ports.collect()
    }

    /// Makes one difference so.
    pub fn apply(&mut self, op: TableOp) {
        match op {
            TableOp::Set(key, vip) => {
                self.vips.insert(key, vip);
            }
            TableOp::Remove(key) => {
                self.vips.remove(&key);
            }
            TableOp::Names(names) => self.names = names,
        }
    }
}

/// The table that `services` and their `slices` make. Independent of their order; where two Services claim one address and port, the first by
/// namespace and name has it.
#[must_use]
pub fn build(services: &[Service], slices: &[EndpointSlice]) -> VipTable {
    let mut by_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        by_service
            .entry((&slice.namespace, &slice.service))
            .or_default()
            .push(slice);
    }
    let mut ordered: Vec<&Service> = services.iter().collect();
    ordered.sort_by_key(|service| (&service.namespace, &service.name));
    let mut vips = HashMap::new();
    for service in &ordered {
        let slices = by_service
            .get(&(service.namespace.as_str(), service.name.as_str()))
            .map_or(&[][..], Vec::as_slice);
        if service.kind != ServiceKind::Virtual {
            continue;
        }
        for port in &service.ports {
            let backends = backends(service, slices, &port.name, port.protocol);
            for ip in &service.addresses {
                let key = VipKey {
                    ip: *ip,
                    port: port.port,
                    protocol: port.protocol,
                };
                vips.entry(key).or_insert_with(|| Vip {
                    service: format!("{}/{}:{}", service.namespace, service.name, port.port),
                    backends: backends
                        .iter()
                        .copied()
                        .filter(|backend| backend.is_ipv4() == ip.is_ipv4())
                        .collect(),
                    affinity: service.affinity,
                    node_port: port.node_port,
                });
            }
        }
    }
    VipTable {
        vips,
        names: Names::build(&ordered, &by_service),
    }
}

/// The endpoints that a port of a Service leads to: the ready ones, or, when there are none, those that still serve while they stop.
fn backends(
    service: &Service,
    slices: &[&EndpointSlice],
    port: &str,
    protocol: Protocol,
) -> Vec<SocketAddr> {
    let of = |takes: &dyn Fn(&Endpoint) -> bool| -> BTreeSet<SocketAddr> {
        let mut found = BTreeSet::new();
        for slice in slices {
            for target in slice
                .ports
                .iter()
                .filter(|target| target.name == port && target.protocol == protocol)
            {
                let endpoints = slice.endpoints.iter().filter(|endpoint| takes(endpoint));
                found.extend(
                    endpoints
                        .flat_map(|endpoint| &endpoint.addresses)
                        .map(|ip| SocketAddr::new(*ip, target.port)),
                );
            }
        }
        found
    };
    let ready = of(&|endpoint| endpoint.ready || service.publish_not_ready);
    let chosen = if ready.is_empty() {
        of(&|endpoint| endpoint.serving && endpoint.terminating)
    } else {
        ready
    };
    chosen.into_iter().collect()
}

/// What makes `new` of `old`, in the order of keys.
#[must_use]
pub fn diff(old: &VipTable, new: &VipTable) -> Vec<TableOp> {
    let keys: BTreeSet<&VipKey> = old.vips.keys().chain(new.vips.keys()).collect();
    let mut ops: Vec<TableOp> = keys
        .into_iter()
        .filter_map(|key| match (old.vips.get(key), new.vips.get(key)) {
            (Some(before), Some(after)) if before == after => None,
            (_, Some(after)) => Some(TableOp::Set(*key, after.clone())),
            (_, None) => Some(TableOp::Remove(*key)),
        })
        .collect();
    if old.names != new.names {
        ops.push(TableOp::Names(new.names.clone()));
    }
    ops
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::service::{ServicePort, SlicePort};

    pub(crate) fn service(name: &str, ip: &str, port: u16) -> Service {
        Service {
            namespace: "default".into(),
            name: name.into(),
            kind: ServiceKind::Virtual,
            addresses: vec![ip.parse().unwrap()],
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port,
                node_port: None,
            }],
            affinity: None,
            publish_not_ready: false,
        }
    }

    fn slice(name: &str, endpoints: &[(&str, bool, bool)]) -> EndpointSlice {
        let endpoint = |(ip, ready, terminating): &(&str, bool, bool)| Endpoint {
            addresses: vec![ip.parse().unwrap()],
            ready: *ready,
            serving: true,
            terminating: *terminating,
            hostname: None,
        };
        EndpointSlice {
            namespace: "default".into(),
            service: name.into(),
            ports: vec![SlicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 8080,
            }],
            endpoints: endpoints.iter().map(endpoint).collect(),
        }
    }

    fn backends_of(service: Service, slices: &[EndpointSlice]) -> Vec<String> {
        let key = VipKey {
            ip: service.addresses[0],
            port: 80,
            protocol: Protocol::Tcp,
        };
        build(&[service], slices)
            .get(&key)
            .unwrap()
            .backends
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn only_ready_endpoints_take_connections() {
        let slices = [slice(
            "s",
            &[
                ("10.1.0.2", true, false),
                ("10.1.0.1", true, false),
                ("10.1.0.3", false, false),
            ],
        )];
        assert_eq!(
            backends_of(service("s", "10.96.0.1", 80), &slices),
            ["10.1.0.1:8080", "10.1.0.2:8080"]
        );
        let mut early = service("s", "10.96.0.1", 80);
        early.publish_not_ready = true;
        assert_eq!(backends_of(early, &slices).len(), 3);
    }

    #[test]
    fn when_all_are_stopping_those_that_still_serve_take_connections() {
        let slices = [slice(
            "s",
            &[("10.1.0.1", false, true), ("10.1.0.2", false, false)],
        )];
        assert_eq!(
            backends_of(service("s", "10.96.0.1", 80), &slices),
            ["10.1.0.1:8080"]
        );
        assert_eq!(
            backends_of(service("s", "10.96.0.1", 80), &[]),
            Vec::<String>::new()
        );
    }

    fn worlds() -> impl Strategy<Value = (Vec<Service>, Vec<EndpointSlice>)> {
        let one = (
            0_u8..4,
            0_u8..4,
            proptest::collection::vec((0_u8..6, any::<bool>(), any::<bool>()), 0..4),
        );
        proptest::collection::btree_map(0_u8..5, one, 0..5).prop_map(|world| {
            let mut services = Vec::new();
            let mut slices = Vec::new();
            for (name, (ip, port, endpoints)) in world {
                let name = format!("s{name}");
                services.push(service(
                    &name,
                    &Ipv4Addr::new(10, 96, 0, ip).to_string(),
                    80 + u16::from(port),
                ));
                let endpoints: Vec<_> = endpoints
                    .iter()
                    .map(|(ip, ready, gone)| {
                        (Ipv4Addr::new(10, 1, 0, *ip).to_string(), *ready, *gone)
                    })
                    .collect();
                let borrowed: Vec<_> = endpoints
                    .iter()
                    .map(|(ip, ready, gone)| (ip.as_str(), *ready, *gone))
                    .collect();
                slices.push(slice(&name, &borrowed));
            }
            (services, slices)
        })
    }

    proptest! {
        #[test]
        fn differences_lead_from_one_table_to_the_other((a, b) in (worlds(), worlds())) {
            let (mut old, new) = (build(&a.0, &a.1), build(&b.0, &b.1));
            for op in diff(&old, &new) {
                old.apply(op);
            }
            prop_assert_eq!(&old, &new);
            prop_assert!(diff(&old, &new).is_empty());
        }

        #[test]
        fn the_order_of_objects_does_not_matter((mut services, mut slices) in worlds()) {
            let table = build(&services, &slices);
            services.reverse();
            slices.reverse();
            prop_assert_eq!(table, build(&services, &slices));
        }
    }
}
