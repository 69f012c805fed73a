//! Which node has which pods. Pure.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

use crate::cidr::Cidr;

/// Callers from outside, whose answers go back through the node that they came in at. Beyond it the oldest is forgotten.
const CALLERS_LIMIT: usize = 16_384;

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// The addresses of its pods.
    pub ranges: Vec<Cidr>,
    /// Where it takes links. Empty: nowhere, so that it has to open them.
    pub dial: Vec<SocketAddr>,
}

/// The other nodes.
#[derive(Debug, Default)]
pub struct Routes {
    peers: BTreeMap<String, Peer>,
    /// The ranges of all nodes, this one's too, the narrowest first.
    ranges: Vec<(Cidr, String)>,
    /// The node that a caller from outside came in at: by the caller and the pod.
    callers: HashMap<(SocketAddr, SocketAddr), String>,
    /// The callers in the order of their coming.
    order: VecDeque<(SocketAddr, SocketAddr)>,
}

impl Routes {
    /// Routes to `peers`, as the node `own` has them.
    #[must_use]
    pub fn new(own: &str, peers: Vec<Peer>) -> Self {
        let mut ranges: Vec<(Cidr, String)> = peers
            .iter()
            .flat_map(|peer| peer.ranges.iter().map(|range| (*range, peer.node.clone())))
            .collect();
        let others = peers.into_iter().filter(|peer| peer.node != own);
        let peers: BTreeMap<String, Peer> = others.map(|peer| (peer.node.clone(), peer)).collect();
        ranges.sort_by_key(|(range, node)| (std::cmp::Reverse(range.prefix()), node.clone()));
        Self {
            peers,
            ranges,
            ..Self::default()
        }
    }

    /// A node by name.
    #[must_use]
    pub fn peer(&self, node: &str) -> Option<&Peer> {
        self.peers.get(node)
    }

    /// The nodes that take links.
    #[must_use]
    pub fn dialable(&self) -> Vec<String> {
        let all = self.peers.values().filter(|peer| !peer.dial.is_empty());
        all.map(|peer| peer.node.clone()).collect()
    }

    /// The node whose pod may have an address.
    #[must_use]
    pub fn node(&self, ip: IpAddr) -> Option<String> {
        let found = self.ranges.iter().find(|(range, _)| range.has(ip));
        let (_, node) = found?;
        // No way leads to this node's own pods but the switch.
        self.peers.contains_key(node).then(|| node.clone())
    }

    /// Whether what `node` sends may come from an address: one of its own pods', or nobody's in the cluster.
    #[must_use]
    pub fn may_come_from(&self, node: &str, ip: IpAddr) -> bool {
        let mut all = self
            .ranges
            .iter()
            .filter(|(range, _)| range.has(ip))
            .peekable();
        all.peek().is_none() || all.any(|(_, owner)| owner == node)
    }

    /// A datagram came from `source`, over `node`, to a pod: its answer goes the same way, if `source` is no pod.
    pub fn came(&mut self, node: &str, source: SocketAddr, target: SocketAddr) {
        if self.ranges.iter().any(|(range, _)| range.has(source.ip())) {
            return;
        }
        let pair = (source, target);
        if let Some(known) = self.callers.get_mut(&pair) {
            if known != node {
                node.clone_into(known);
            }
            return;
        }
        if self.order.len() >= CALLERS_LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.callers.remove(&oldest);
        }
        self.order.push_back(pair);
        self.callers.insert(pair, node.to_owned());
    }

    /// The node at which the caller that a pod answers came in.
    #[must_use]
    pub fn way_back(&self, pod: SocketAddr, caller: SocketAddr) -> Option<String> {
        self.callers.get(&(caller, pod)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(node: &str, ranges: &[&str]) -> Peer {
        Peer {
            node: node.into(),
            ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            dial: Vec::new(),
        }
    }

    fn routes() -> Routes {
        let peers = vec![
            peer("own", &["10.1.0.0/24"]),
            peer("a", &["10.2.0.0/24", "fd00:2::/64"]),
            peer("b", &["10.3.0.0/24", "10.2.0.128/25"]),
        ];
        Routes::new("own", peers)
    }

    #[test]
    fn the_narrowest_range_has_an_address() {
        let routes = routes();
        for (ip, node) in [
            ("10.2.0.1", Some("a")),
            ("fd00:2::9", Some("a")),
            ("10.2.0.200", Some("b")),
            ("10.3.0.1", Some("b")),
            ("10.1.0.1", None),
            ("8.8.8.8", None),
        ] {
            assert_eq!(routes.node(ip.parse().unwrap()).as_deref(), node, "{ip}");
        }
    }

    #[test]
    fn a_node_speaks_for_its_own_pods_and_for_outside() {
        let routes = routes();
        for (ip, may) in [
            ("10.2.0.1", true),
            ("10.3.0.1", false),
            ("10.1.0.1", false),
            ("192.0.2.1", true),
        ] {
            assert_eq!(routes.may_come_from("a", ip.parse().unwrap()), may, "{ip}");
        }
    }

    #[test]
    fn callers_from_outside_are_answered_where_they_came_in_and_bounded() {
        let mut routes = routes();
        let pod: SocketAddr = "10.1.0.2:53".parse().unwrap();
        let caller = |number: u32| SocketAddr::new(std::net::Ipv4Addr::from(number).into(), 9);
        routes.came("a", caller(1), pod);
        assert_eq!(routes.way_back(pod, caller(1)).as_deref(), Some("a"));
        routes.came("b", caller(1), pod);
        assert_eq!(routes.way_back(pod, caller(1)).as_deref(), Some("b"));
        let other_pod: SocketAddr = "10.2.0.7:9".parse().unwrap();
        routes.came("a", other_pod, pod);
        assert_eq!(routes.way_back(pod, other_pod), None, "that has a route");
        for number in 2..=u32::try_from(CALLERS_LIMIT).unwrap() + 1 {
            routes.came("a", caller(number), pod);
        }
        assert_eq!(routes.callers.len(), CALLERS_LIMIT);
        assert_eq!(routes.way_back(pod, caller(1)), None);
    }
}
