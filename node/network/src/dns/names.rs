//! What the names of Services stand for. Pure. Rules: upstream's DNS specification.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::service::{EndpointSlice, Protocol, Service, ServiceKind};

/// The version of the specification that is kept to.
const VERSION: &str = "1.1.0";

/// The names of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By namespace and name.
    services: HashMap<(String, String), Named>,
    /// The names of addresses, without the cluster's domain.
    reverse: HashMap<IpAddr, String>,
}

/// A named port: its name, protocol and number.
type Port = (String, Protocol, u16);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    /// A Service with virtual addresses.
    Virtual {
        addresses: Vec<IpAddr>,
        ports: Vec<Port>,
    },
    /// A Service whose name stands for its pods.
    Headless(Vec<Host>),
    /// A name for another name.
    External(String),
}

/// A pod of a headless Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Host {
    /// Its name there: its host name, or its address with dashes.
    name: String,
    ip: IpAddr,
    ports: Vec<Port>,
}

/// What a name stands for. A name that is there may stand for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Another name.
    pub alias: Option<String>,
    /// Ports, and the names of where they are, without the cluster's domain.
    pub services: Vec<(u16, String)>,
    /// A text.
    pub text: Option<String>,
}

impl Names {
    pub(crate) fn build(
        services: &[&Service],
        slices: &HashMap<(&str, &str), Vec<&EndpointSlice>>,
    ) -> Self {
        let mut names = Self::default();
        for service in services {
            let base = format!("{}.{}.svc", service.name, service.namespace);
            let named = match &service.kind {
                ServiceKind::Virtual => {
                    for ip in &service.addresses {
                        names.reverse.insert(*ip, base.clone());
                    }
                    let ports = service.ports.iter();
                    Named::Virtual {
                        addresses: service.addresses.clone(),
                        ports: ports
                            .map(|port| (port.name.clone(), port.protocol, port.port))
                            .collect(),
                    }
                }
                ServiceKind::ExternalName(name) => {
                    Named::External(name.trim_end_matches('.').to_ascii_lowercase())
                }
                ServiceKind::Headless => {
                    let slices = slices.get(&(service.namespace.as_str(), service.name.as_str()));
                    let hosts = hosts(service, slices.map_or(&[][..], Vec::as_slice));
                    for host in &hosts {
                        let name = format!("{}.{base}", host.name);
                        names.reverse.entry(host.ip).or_insert(name);
                    }
                    Named::Headless(hosts)
                }
            };
            let key = (service.namespace.clone(), service.name.clone());
            names.services.insert(key, named);
        }
        names
    }

    /// What a full name, in lower case and without the dot at the end, stands for in the cluster `domain`. `None`: nobody has it.
    #[must_use]
    pub fn find(&self, name: &str, domain: &str) -> Option<Found> {
        let inner = match name.strip_suffix(domain)? {
            "" => "",
            inner => inner.strip_suffix('.')?,
        };
        let labels: Vec<&str> = inner.split('.').collect();
        match labels.as_slice() {
            [""] | ["svc" | "pod"] => Some(Found::default()),
            ["dns-version"] => Some(Found {
                text: Some(VERSION.to_owned()),
                ..Found::default()
            }),
            [namespace, "svc"] => {
                let mut all = self.services.keys();
                all.any(|(own, _)| own == namespace).then(Found::default)
            }
            [service, namespace, "svc"] => Some(self.service(namespace, service)?.found()),
            [port, protocol, service, namespace, "svc"]
                if port.starts_with('_') && protocol.starts_with('_') =>
            {
                let named = self.service(namespace, service)?;
                let base = format!("{service}.{namespace}.svc");
                named.port(port.get(1..)?, protocol.get(1..)?, &base)
            }
            [host, service, namespace, "svc"] => self.service(namespace, service)?.host(host),
            [address, _namespace, "pod"] => Some(Found {
                addresses: vec![pod_address(address)?],
                ..Found::default()
            }),
            _ => None,
        }
    }

    /// The name of an address, without the cluster's domain.
    #[must_use]
    pub fn name_of(&self, ip: IpAddr) -> Option<&str> {
        self.reverse.get(&ip).map(String::as_str)
    }

    fn service(&self, namespace: &str, name: &str) -> Option<&Named> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }
}

impl Named {
    fn found(&self) -> Found {
        let mut found = Found::default();
        match self {
            Self::Virtual { addresses, .. } => found.addresses.clone_from(addresses),
            Self::Headless(hosts) => {
                found.addresses = hosts.iter().map(|host| host.ip).collect();
                found.addresses.sort();
                found.addresses.dedup();
            }
            Self::External(name) => found.alias = Some(name.clone()),
        }
        found
    }

    fn host(&self, name: &str) -> Option<Found> {
        let Self::Headless(hosts) = self else {
            return None;
        };
        let of_name = hosts.iter().filter(|host| host.name == name);
        let addresses: Vec<IpAddr> = of_name.map(|host| host.ip).collect();
        (!addresses.is_empty()).then_some(Found {
            addresses,
            ..Found::default()
        })
    }

    fn port(&self, name: &str, protocol: &str, base: &str) -> Option<Found> {
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let number = |ports: &[Port]| {
            let mut all = ports.iter();
            let found = all.find(|(own, how, _)| own == name && *how == protocol)?;
            Some(found.2)
        };
        let services: Vec<(u16, String)> = match self {
            Self::Virtual { ports, .. } => number(ports)
                .map(|port| (port, base.to_owned()))
                .into_iter()
                .collect(),
            Self::Headless(hosts) => {
                let with_port = hosts.iter().filter_map(|host| {
                    Some((number(&host.ports)?, format!("{}.{base}", host.name)))
                });
                let mut all: Vec<_> = with_port.collect();
                all.dedup();
                all
            }
            Self::External(_) => Vec::new(),
        };
        (!services.is_empty()).then_some(Found {
            services,
            ..Found::default()
        })
    }
}

fn hosts(service: &Service, slices: &[&EndpointSlice]) -> Vec<Host> {
    let mut hosts: BTreeMap<(String, IpAddr), Vec<Port>> = BTreeMap::new();
    for slice in slices {
        let ports = slice.ports.iter();
        let ports: Vec<Port> = ports
            .map(|port| (port.name.clone(), port.protocol, port.port))
            .collect();
        let endpoints = slice.endpoints.iter();
        for endpoint in endpoints.filter(|one| one.ready || service.publish_not_ready) {
            for ip in &endpoint.addresses {
                let name = endpoint.hostname.clone();
                let name = name.unwrap_or_else(|| ip.to_string().replace(['.', ':'], "-"));
                let known = hosts.entry((name, *ip)).or_default();
                known.extend(ports.iter().cloned());
            }
        }
    }
    let hosts = hosts.into_iter();
    hosts
        .map(|((name, ip), ports)| Host { name, ip, ports })
        .collect()
}

/// `10-1-2-3` or the IPv6 form with dashes for colons.
fn pod_address(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>();
    v4.map(IpAddr::from)
        .or_else(|_| {
            let v6 = label.replace('-', ":").parse::<Ipv6Addr>();
            v6.map(IpAddr::from)
        })
        .ok()
}
