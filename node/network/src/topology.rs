//! Which of a Service's endpoints a node uses: traffic policies, hints, and what is done when none is ready. Pure. Rules: upstream
//! `pkg/proxy/topology.go`.

use std::{collections::BTreeSet, net::SocketAddr};

use crate::service::{Endpoint, EndpointSlice, Place, Protocol, Service, TrafficPolicy};

/// The endpoints that may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends {
    /// Ordered. Empty: nobody takes what is sent.
    pub addresses: Vec<SocketAddr>,
    /// There are endpoints, but policy leaves none of them for this node: what is sent is lost silently instead of being refused.
    pub is_elsewhere: bool,
}

/// An endpoint and its port.
struct Candidate<'a> {
    endpoint: &'a Endpoint,
    port: u16,
    is_ready: bool,
}

impl Candidate<'_> {
    /// Goes on serving while it stops: used when nothing else is there.
    fn is_last_resort(&self) -> bool {
        self.endpoint.serving && self.endpoint.terminating
    }
}

/// The endpoints of one port of a Service.
pub(crate) struct Candidates<'a> {
    all: Vec<Candidate<'a>>,
    place: &'a Place,
}

/// How far hints let traffic go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Node,
    Zone,
    Everywhere,
}

impl<'a> Candidates<'a> {
    /// Those behind a port of a Service, by its name and protocol.
    pub(crate) fn of(
        service: &Service,
        slices: &[&'a EndpointSlice],
        name: &str,
        protocol: Protocol,
        place: &'a Place,
    ) -> Self {
        let mut all = Vec::new();
        for slice in slices {
            let ports = slice.ports.iter();
            for port in ports.filter(|port| port.name == name && port.protocol == protocol) {
                all.extend(slice.endpoints.iter().map(|endpoint| Candidate {
                    endpoint,
                    port: port.port,
                    is_ready: endpoint.ready || service.publish_not_ready,
                }));
            }
        }
        Self { all, place }
    }

    /// Those for callers under a policy.
    pub(crate) fn under(&self, policy: TrafficPolicy) -> Backends {
        match policy {
            TrafficPolicy::Cluster => Backends {
                addresses: self.cluster(),
                is_elsewhere: false,
            },
            TrafficPolicy::Local => self.local(),
        }
    }

    fn cluster(&self) -> Vec<SocketAddr> {
        let reach = self.reach();
        let ready = self.select(|one| one.is_ready && self.is_within(one.endpoint, reach));
        if ready.is_empty() {
            self.select(|one| one.is_last_resort())
        } else {
            ready
        }
    }

    fn local(&self) -> Backends {
        let is_local = |one: &Candidate<'_>| {
            one.endpoint
                .node
                .as_ref()
                .is_none_or(|node| *node == self.place.node)
        };
        let mut addresses = self.select(|one| one.is_ready && is_local(one));
        if addresses.is_empty() {
            addresses = self.select(|one| one.is_last_resort() && is_local(one));
        }
        let mut all = self.all.iter();
        let has_any = all.any(|one| one.is_ready || one.is_last_resort());
        Backends {
            is_elsewhere: addresses.is_empty() && has_any,
            addresses,
        }
    }

    /// Hints count only if every ready endpoint has one and one of them is for here.
    fn reach(&self) -> Reach {
        let ready = || {
            self.all
                .iter()
                .filter(|one| one.is_ready)
                .map(|one| one.endpoint)
        };
        let all_say = |hints: fn(&Endpoint) -> &Vec<String>, here: &String| {
            ready().all(|one| !hints(one).is_empty())
                && ready().any(|one| hints(one).contains(here))
        };
        if all_say(|one| &one.for_nodes, &self.place.node) {
            Reach::Node
        } else if all_say(|one| &one.for_zones, &self.place.zone) {
            Reach::Zone
        } else {
            Reach::Everywhere
        }
    }

    fn is_within(&self, endpoint: &Endpoint, reach: Reach) -> bool {
        match reach {
            Reach::Node => endpoint.for_nodes.contains(&self.place.node),
            Reach::Zone => endpoint.for_zones.contains(&self.place.zone),
            Reach::Everywhere => true,
        }
    }

    fn select(&self, takes: impl Fn(&Candidate<'_>) -> bool) -> Vec<SocketAddr> {
        let taken = self.all.iter().filter(|one| takes(one));
        let addresses: BTreeSet<SocketAddr> = taken
            .flat_map(|one| {
                let ips = one.endpoint.addresses.iter();
                ips.map(|ip| SocketAddr::new(*ip, one.port))
            })
            .collect();
        addresses.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{endpoint, service, slice};

    fn place() -> Place {
        Place {
            node: "here".into(),
            zone: "z1".into(),
            node_addresses: Vec::new(),
        }
    }

    fn on(ip: &str, node: &str) -> Endpoint {
        Endpoint {
            node: Some(node.into()),
            ..endpoint(ip)
        }
    }

    fn stopping(mut endpoint: Endpoint) -> Endpoint {
        (endpoint.ready, endpoint.terminating) = (false, true);
        endpoint
    }

    fn choose(endpoints: Vec<Endpoint>, policy: TrafficPolicy) -> (Vec<String>, bool) {
        let slice = slice(Protocol::Tcp, endpoints);
        let (place, service) = (place(), service("10.96.0.1", Protocol::Tcp));
        let all = Candidates::of(&service, &[&slice], "main", Protocol::Tcp, &place);
        let chosen = all.under(policy);
        let ips = chosen
            .addresses
            .iter()
            .map(|address| address.ip().to_string());
        (ips.collect(), chosen.is_elsewhere)
    }

    #[test]
    fn ready_ones_are_used_and_stopping_ones_when_there_is_nothing_else() {
        let (ready, stop) = (endpoint("10.1.0.1"), stopping(endpoint("10.1.0.2")));
        let mut unready = endpoint("10.1.0.3");
        (unready.ready, unready.serving) = (false, false);
        let all = vec![ready, stop.clone(), unready.clone()];
        let cluster = TrafficPolicy::Cluster;
        assert_eq!(choose(all, cluster).0, ["10.1.0.1"]);
        assert_eq!(choose(vec![stop, unready.clone()], cluster).0, ["10.1.0.2"]);
        assert_eq!(choose(vec![unready], cluster), (Vec::new(), false));
    }

    #[test]
    fn a_local_policy_uses_this_node_and_loses_the_rest_silently() {
        let (here, there) = (on("10.1.0.1", "here"), on("10.2.0.1", "there"));
        let local = TrafficPolicy::Local;
        assert_eq!(
            choose(vec![here.clone(), there.clone()], local).0,
            ["10.1.0.1"]
        );
        let last = vec![stopping(here), there.clone()];
        assert_eq!(choose(last, local).0, ["10.1.0.1"]);
        assert_eq!(choose(vec![there.clone()], local), (Vec::new(), true));
        assert_eq!(choose(vec![stopping(there)], local), (Vec::new(), true));
        assert_eq!(choose(Vec::new(), local), (Vec::new(), false));
    }

    #[test]
    fn hints_count_when_all_have_them_and_one_is_for_here() {
        let hinted = |ip: &str, nodes: &[&str], zones: &[&str]| Endpoint {
            for_nodes: nodes.iter().map(|&name| name.into()).collect(),
            for_zones: zones.iter().map(|&name| name.into()).collect(),
            ..endpoint(ip)
        };
        let (a, b) = ("10.1.0.1", "10.1.0.2");
        let cases = [
            (
                (&["here"][..], &["z1"][..]),
                (&["there"][..], &["z1"][..]),
                vec![a],
            ),
            ((&[], &["z1"]), (&[], &["z2"]), vec![a]),
            ((&["there"], &["z1"]), (&["there"], &["z2"]), vec![a]),
            ((&[], &["z2"]), (&[], &["z3"]), vec![a, b]),
            ((&[], &["z1"]), (&[], &[]), vec![a, b]),
        ];
        for ((nodes, zones), (other_nodes, other_zones), expected) in cases {
            let endpoints = vec![hinted(a, nodes, zones), hinted(b, other_nodes, other_zones)];
            assert_eq!(choose(endpoints, TrafficPolicy::Cluster).0, expected);
        }
    }

    fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
        let one = (
            0_u8..6,
            any::<(bool, bool, bool)>(),
            0_u8..3,
            0_u8..3,
            0_u8..3,
        );
        let one = one.prop_map(
            |(last, (ready, serving, terminating), node, nodes, zones)| {
                let names = |number: u8, one: &str| match number {
                    0 => Vec::new(),
                    1 => vec![one.to_owned()],
                    _ => vec!["other".to_owned()],
                };
                Endpoint {
                    addresses: vec![[10, 1, 0, last].into()],
                    ready,
                    serving,
                    terminating,
                    hostname: None,
                    node: names(node, "here").pop(),
                    for_nodes: names(nodes, "here"),
                    for_zones: names(zones, "z1"),
                }
            },
        );
        proptest::collection::vec(one, 0..6)
    }

    proptest! {
        /// Nothing but what is ready, or serves while it stops, is ever used; and where there is such a thing the cluster's policy finds it.
        #[test]
        fn what_cannot_serve_is_never_used_and_what_can_is_found(endpoints in endpoints()) {
            let usable: BTreeSet<String> = endpoints
                .iter()
                .filter(|one| one.ready || (one.serving && one.terminating))
                .map(|one| one.addresses[0].to_string())
                .collect();
            let (cluster, lost) = choose(endpoints.clone(), TrafficPolicy::Cluster);
            prop_assert!(cluster.iter().all(|ip| usable.contains(ip)));
            prop_assert_eq!(cluster.is_empty(), usable.is_empty());
            prop_assert!(!lost);
            let (local, elsewhere) = choose(endpoints, TrafficPolicy::Local);
            prop_assert!(local.iter().all(|ip| usable.contains(ip)));
            prop_assert_eq!(elsewhere, local.is_empty() && !usable.is_empty());
        }
    }
}
