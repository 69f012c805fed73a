//! Names, as Kubernetes' DNS specification gives them: Services, the pods of headless Services, pods by their address; and what a program takes for
//! granted, `localhost` and its own host name. Pure lookups in a table.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    error::NetError,
    service::{EndpointSlice, Service, ServiceKind},
    stack::PodIdentity,
};

/// Names with fewer dots are tried with the search path first (the `ndots` of a pod's resolver).
const NDOTS: usize = 5;
/// The longest name (RFC 1035).
const NAME_LIMIT: usize = 253;

/// What Services' names stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By namespace and name.
    services: HashMap<(String, String), Named>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    /// A Service with virtual addresses.
    Virtual(Vec<IpAddr>),
    /// A Service whose name stands for its pods; each may have a host name.
    Headless {
        all: Vec<IpAddr>,
        hosts: Vec<(String, IpAddr)>,
    },
    /// A name for a name outside.
    External,
}

impl Names {
    pub(crate) fn build(
        services: &[&Service],
        slices: &HashMap<(&str, &str), Vec<&EndpointSlice>>,
    ) -> Self {
        let named = services.iter().map(|service| {
            let named = match &service.kind {
                ServiceKind::Virtual => Named::Virtual(service.addresses.clone()),
                ServiceKind::ExternalName(_) => Named::External,
                ServiceKind::Headless => {
                    let slices = slices.get(&(service.namespace.as_str(), service.name.as_str()));
                    headless(service, slices.map_or(&[][..], Vec::as_slice))
                }
            };
            ((service.namespace.clone(), service.name.clone()), named)
        });
        Self {
            services: named.collect(),
        }
    }

    fn service(&self, namespace: &str, name: &str) -> Option<&Named> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }
}

fn headless(service: &Service, slices: &[&EndpointSlice]) -> Named {
    let mut all = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    for endpoint in endpoints.filter(|endpoint| endpoint.ready || service.publish_not_ready) {
        all.extend(endpoint.addresses.iter().copied());
        if let Some(host) = &endpoint.hostname {
            hosts.extend(endpoint.addresses.iter().map(|ip| (host.clone(), *ip)));
        }
    }
    Named::Headless {
        all: all.into_iter().collect(),
        hosts: hosts.into_iter().collect(),
    }
}

/// The addresses of `name` as the pod `from` sees it, in the cluster `domain`.
///
/// # Errors
/// `InvalidArgument` when it is no name; `NameUnresolvable` when nobody has it, or it leads outside the cluster, where pods have no way yet.
pub fn lookup(
    name: &str,
    from: &PodIdentity,
    names: &Names,
    domain: &str,
) -> Result<Vec<IpAddr>, NetError> {
    let unbracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    if let Some(name) = unbracketed {
        let ip = name.parse::<Ipv6Addr>();
        return ip
            .map(|ip| vec![ip.into()])
            .map_err(|_| NetError::InvalidArgument);
    }
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    let (name, absolute) = match name.strip_suffix('.') {
        Some(absolute) => (absolute.to_ascii_lowercase(), true),
        None => (name.to_ascii_lowercase(), false),
    };
    if !is_name(&name) {
        return Err(NetError::InvalidArgument);
    }
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    if name == from.hostname.to_ascii_lowercase() {
        return Ok(vec![from.ip]);
    }
    let search = [
        format!("{}.svc.{domain}", from.namespace),
        format!("svc.{domain}"),
        domain.to_owned(),
    ];
    let searched = search.iter().map(|suffix| format!("{name}.{suffix}"));
    let candidates: Vec<String> = match (absolute, name.matches('.').count() < NDOTS) {
        (true, _) => vec![name.clone()],
        (false, true) => searched.chain([name.clone()]).collect(),
        (false, false) => [name.clone()].into_iter().chain(searched).collect(),
    };
    let found = candidates
        .iter()
        .find_map(|candidate| resolve(candidate, names, domain));
    found
        .filter(|addresses| !addresses.is_empty())
        .ok_or(NetError::NameUnresolvable)
}

/// The addresses of a full name; `None` when nobody has it.
fn resolve(name: &str, names: &Names, domain: &str) -> Option<Vec<IpAddr>> {
    let inner = name.strip_suffix(domain)?.strip_suffix('.')?;
    let labels: Vec<&str> = inner.split('.').collect();
    match labels.as_slice() {
        [service, namespace, "svc"] => match names.service(namespace, service)? {
            Named::Virtual(addresses) => Some(addresses.clone()),
            Named::Headless { all, .. } => Some(all.clone()),
            Named::External => None,
        },
        [host, service, namespace, "svc"] => match names.service(namespace, service)? {
            Named::Headless { hosts, .. } => {
                let of_host: Vec<IpAddr> = hosts
                    .iter()
                    .filter(|(name, _)| name == host)
                    .map(|(_, ip)| *ip)
                    .collect();
                (!of_host.is_empty()).then_some(of_host)
            }
            Named::Virtual(_) | Named::External => None,
        },
        [address, _namespace, "pod"] => pod_address(address).map(|ip| vec![ip]),
        _ => None,
    }
}

/// `10-1-2-3` or the IPv6 form with dashes for colons.
fn pod_address(label: &str) -> Option<IpAddr> {
    label
        .replace('-', ".")
        .parse::<Ipv4Addr>()
        .map(IpAddr::from)
        .or_else(|_| {
            label
                .replace('-', ":")
                .parse::<Ipv6Addr>()
                .map(IpAddr::from)
        })
        .ok()
}

fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !name.is_empty() && name.len() <= NAME_LIMIT && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        service::{Endpoint, Protocol, ServicePort, SlicePort},
        vip,
    };

    fn names() -> vip::VipTable {
        let service = |namespace: &str, name: &str, kind: ServiceKind, ip: &[&str]| Service {
            namespace: namespace.into(),
            name: name.into(),
            kind,
            addresses: ip.iter().map(|ip| ip.parse().unwrap()).collect(),
            ports: vec![ServicePort {
                name: String::new(),
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
                name: String::new(),
                protocol: Protocol::Tcp,
                port: 5432,
            }],
            endpoints: vec![
                endpoint("10.1.0.5", "db-0", true),
                endpoint("10.1.0.6", "db-1", true),
                endpoint("10.1.0.7", "db-2", false),
            ],
        };
        vip::build(
            &[
                service("default", "web", ServiceKind::Virtual, &["10.96.0.10"]),
                service("shop", "web", ServiceKind::Virtual, &["10.96.0.11"]),
                service("default", "db", ServiceKind::Headless, &[]),
                service(
                    "default",
                    "out",
                    ServiceKind::ExternalName("example.com".into()),
                    &[],
                ),
            ],
            &[slice],
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
}
