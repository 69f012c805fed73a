//! The table of virtual addresses, as a pure function of Services and endpoints, and the difference of two tables. Looking an address up is one
//! hash, however many Services there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::{
    dns::Names,
    service::{EndpointSlice, Place, Protocol, Service, ServiceKind, ServicePort, TrafficPolicy},
    topology::{Backends, Candidates},
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vip {
    /// `namespace/name:port`, for people.
    pub service: String,
    /// The pods for callers in the cluster.
    pub inside: Backends,
    /// The pods for callers from outside, through a node's port.
    pub outside: Backends,
    /// Keeps a client with its pod for so long.
    pub affinity: Option<Duration>,
    /// The port at every node that leads here too.
    pub node_port: Option<u16>,
    /// The nodes open the port under its own number, too.
    pub is_opened_by_nodes: bool,
}

impl Backends {
    /// Whether connections may go to an address.
    #[must_use]
    pub fn has(&self, address: &SocketAddr) -> bool {
        self.addresses.binary_search(address).is_ok()
    }

    /// Those of one family of addresses: a connection does not change its family on the way.
    fn of_family(&self, ip: IpAddr) -> Self {
        let of_family = |address: &&SocketAddr| address.is_ipv4() == ip.is_ipv4();
        Self {
            addresses: self.addresses.iter().filter(of_family).copied().collect(),
            is_elsewhere: self.is_elsewhere,
        }
    }
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipTable {
    vips: HashMap<VipKey, Arc<Vip>>,
    names: Names,
}

/// One difference between tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableOp {
    /// The address leads there from now on.
    Set(VipKey, Arc<Vip>),
    /// The address is nobody's any more.
    Remove(VipKey),
    /// Names changed.
    Names(Names),
}

impl VipTable {
    /// Where an address leads.
    #[must_use]
    pub fn get(&self, key: &VipKey) -> Option<&Arc<Vip>> {
        self.vips.get(key)
    }

    /// The names of Services and their pods.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// All addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&VipKey, &Vip)> {
        self.vips.iter().map(|(key, vip)| (key, vip.as_ref()))
    }

    /// The ports that nodes open, and where they lead: node ports, and those of Services whose load balancer the nodes are. A number that is both is a
    /// node port.
    #[must_use]
    pub fn node_ports(&self) -> BTreeMap<(u16, Protocol), VipKey> {
        let node_ports = self.least(|_, vip| vip.node_port);
        let opened = self.least(|key, vip| vip.is_opened_by_nodes.then_some(key.port));
        let mut ports = opened;
        ports.extend(node_ports);
        ports
    }

    /// The addresses by a number that they have. Of several with one number the least is taken, so that it is always the same.
    fn least(
        &self,
        number: impl Fn(&VipKey, &Vip) -> Option<u16>,
    ) -> BTreeMap<(u16, Protocol), VipKey> {
        let mut least = BTreeMap::new();
        for (key, vip) in self.iter() {
            if let Some(number) = number(key, vip) {
                let held = least.entry((number, key.protocol)).or_insert(*key);
                *held = (*held).min(*key);
            }
        }
        least
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

/// The table that `services` and their `slices` make for a node. Independent of their order; where two Services claim one address and port, the first
/// by namespace and name has it, and Services' own addresses come before others.
#[must_use]
pub fn build(services: &[Service], slices: &[EndpointSlice], place: &Place) -> VipTable {
    let mut by_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        by_service
            .entry((&slice.namespace, &slice.service))
            .or_default()
            .push(slice);
    }
    let mut ordered: Vec<&Service> = services.iter().collect();
    ordered.sort_by_key(|service| (&service.namespace, &service.name));
    let mut vips: HashMap<VipKey, Arc<Vip>> = HashMap::new();
    let mut others = Vec::new();
    let virtuals = ordered
        .iter()
        .filter(|one| one.kind == ServiceKind::Virtual);
    for service in virtuals {
        let slices = by_service
            .get(&(service.namespace.as_str(), service.name.as_str()))
            .map_or(&[][..], Vec::as_slice);
        for port in &service.ports {
            let reached = reached(service, slices, port, place);
            for (key, vip) in reached.own {
                vips.entry(key).or_insert_with(|| Arc::new(vip));
            }
            others.extend(reached.others);
        }
    }
    for (key, vip) in others {
        vips.entry(key).or_insert_with(|| Arc::new(vip));
    }
    VipTable {
        vips,
        names: Names::build(&ordered, &by_service),
    }
}

/// Where one port of a Service is reached.
struct Reached {
    /// At the Service's own addresses.
    own: Vec<(VipKey, Vip)>,
    /// At addresses from outside, and at the nodes'.
    others: Vec<(VipKey, Vip)>,
}

fn reached(
    service: &Service,
    slices: &[&EndpointSlice],
    port: &ServicePort,
    place: &Place,
) -> Reached {
    let candidates = Candidates::of(service, slices, &port.name, port.protocol, place);
    let inside = candidates.under(service.internal_policy);
    let outside = candidates.under(service.external_policy);
    // Callers in the cluster that use an address of outside are sent to any pod, whatever the policies (upstream: they are short-circuited).
    let through = candidates.under(TrafficPolicy::Cluster);
    let entry = |ip: IpAddr, number: u16, inside: &Backends| {
        let key = VipKey {
            ip,
            port: number,
            protocol: port.protocol,
        };
        let vip = Vip {
            service: format!("{}/{}:{}", service.namespace, service.name, port.port),
            inside: inside.of_family(ip),
            outside: outside.of_family(ip),
            affinity: service.affinity,
            node_port: None,
            is_opened_by_nodes: false,
        };
        (key, vip)
    };
    let own = service.addresses.iter().map(|ip| {
        let (key, vip) = entry(*ip, port.port, &inside);
        let opened = Vip {
            node_port: port.node_port,
            is_opened_by_nodes: service.is_opened_by_nodes,
            ..vip
        };
        (key, opened)
    });
    let external = service.external_addresses.iter();
    let external = external.map(|ip| entry(*ip, port.port, &through));
    let nodes = place.node_addresses.iter();
    let at_nodes = nodes.filter_map(|ip| Some(entry(*ip, port.node_port?, &through)));
    Reached {
        own: own.collect(),
        others: external.chain(at_nodes).collect(),
    }
}

/// What makes `new` of `old`, in the order of keys.
#[must_use]
pub fn diff(old: &VipTable, new: &VipTable) -> Vec<TableOp> {
    let keys: BTreeSet<&VipKey> = old.vips.keys().chain(new.vips.keys()).collect();
    let mut ops: Vec<TableOp> = keys
        .into_iter()
        .filter_map(|key| match (old.vips.get(key), new.vips.get(key)) {
            (Some(before), Some(after)) if before == after => None,
            (_, Some(after)) => Some(TableOp::Set(*key, Arc::clone(after))),
            (_, None) => Some(TableOp::Remove(*key)),
        })
        .collect();
    if old.names != new.names {
        ops.push(TableOp::Names(new.names.clone()));
    }
    ops
}

#[cfg(test)]
mod tests;
