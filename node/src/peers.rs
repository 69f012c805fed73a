//! The other nodes: watched, and turned into where their pods are and how to get there. What links are is decided in `coracle_network::tunnel`; here is only
//! the translation.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use coracle_network::{
    Place,
    cidr::Cidr,
    tunnel::{Tunnels, routes::Peer},
};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::services::{Services, apply, follow};

/// The annotation of a Node with the addresses where it takes links from others, separated by commas.
pub(crate) const TUNNEL: &str = "network.coracle.dev/tunnel";
/// The annotation of a Node with the ranges of its pods' addresses, separated by commas.
pub(crate) const POD_RANGES: &str = "network.coracle.dev/pods";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Watches nodes until `stop`, and keeps links and Services as they say.
pub(crate) async fn watch(
    client: Client,
    own: String,
    tunnels: Option<Arc<Tunnels>>,
    services: Arc<Services>,
    stop: CancellationToken,
) {
    let known = Mutex::new(BTreeMap::new());
    let following = follow(Api::<Node>::all(client), |change| {
        let mut known = known.lock();
        apply(&mut known, change);
        let nodes: Vec<Arc<Node>> = known.values().cloned().collect();
        drop(known);
        services.set_place(place(&nodes, &own));
        if let Some(tunnels) = &tunnels {
            tunnels.set_peers(peers(&nodes));
        }
    });
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
    }
}

/// Where this node is among them.
fn place(nodes: &[Arc<Node>], own: &str) -> Place {
    let label = |node: &Node| node.labels().get(ZONE).cloned();
    let own_node = nodes.iter().find(|node| node.name_any() == own);
    let addresses = nodes.iter().flat_map(|node| {
        let status = node.status.iter();
        let all = status.flat_map(|status| status.addresses.iter().flatten());
        let reached = all.filter(|one| ["InternalIP", "ExternalIP"].contains(&one.type_.as_str()));
        reached.filter_map(|one| one.address.parse().ok())
    });
    Place {
        node: own.to_owned(),
        zone: own_node.and_then(|node| label(node)).unwrap_or_default(),
        node_addresses: addresses.collect(),
    }
}

/// The nodes and their pods. Nodes say themselves which addresses their pods have, so one that claims what an older one has does not get it.
fn peers(nodes: &[Arc<Node>]) -> Vec<Peer> {
    let mut ordered: Vec<&Arc<Node>> = nodes.iter().collect();
    ordered.sort_by_key(|node| {
        (
            node.creation_timestamp().map(|time| time.0),
            node.name_any(),
        )
    });
    let mut taken: Vec<Cidr> = Vec::new();
    let mut peers = Vec::new();
    for node in ordered {
        let name = node.name_any();
        let mut ranges = Vec::new();
        for range in pod_ranges(node) {
            if taken.iter().any(|other| other.overlaps(range)) {
                tracing::warn!(node = name, %range, "a node's pods have addresses that another's have: it gets nothing sent there");
                continue;
            }
            ranges.push(range);
        }
        taken.extend(&ranges);
        let dial = listed::<SocketAddr>(node.annotations().get(TUNNEL));
        peers.push(Peer {
            node: name,
            ranges,
            dial,
        });
    }
    peers
}

fn pod_ranges(node: &Node) -> Vec<Cidr> {
    let said = listed(node.annotations().get(POD_RANGES));
    if !said.is_empty() {
        return said;
    }
    let spec = node.spec.iter();
    let given = spec.flat_map(|spec| spec.pod_cidrs.iter().flatten());
    given.filter_map(|text| text.parse().ok()).collect()
}

fn listed<T: std::str::FromStr>(text: Option<&String>) -> Vec<T> {
    let parts = text.into_iter().flat_map(|text| text.split(','));
    parts.filter_map(|part| part.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, created: &str, ranges: &str, tunnel: &str) -> Arc<Node> {
        let node = json!({
            "metadata": {
                "name": name, "creationTimestamp": created, "labels": { ZONE: "z1" },
                "annotations": { POD_RANGES: ranges, TUNNEL: tunnel }
            },
            "status": { "addresses": [{ "type": "InternalIP", "address": "192.168.0.1" }, { "type": "Hostname", "address": "h" }] }
        });
        Arc::new(serde_json::from_value(node).unwrap())
    }

    #[test]
    fn nodes_say_where_their_pods_are_and_nobody_takes_anothers() {
        let nodes = [
            node(
                "thief",
                "2026-02-01T00:00:00Z",
                "10.0.0.0/8,10.9.0.0/24",
                "",
            ),
            node(
                "a",
                "2026-01-01T00:00:00Z",
                "10.244.1.0/24",
                "192.168.0.1:10262, [fd00::1]:10262",
            ),
        ];
        let peers = peers(&nodes);
        let of = |name: &str| peers.iter().find(|peer| peer.node == name).unwrap();
        assert_eq!(of("a").ranges, ["10.244.1.0/24".parse().unwrap()]);
        assert_eq!(of("a").dial.len(), 2);
        assert_eq!(of("thief").ranges, ["10.9.0.0/24".parse().unwrap()]);
        assert!(of("thief").dial.is_empty());
    }

    #[test]
    fn the_place_has_the_zone_and_every_nodes_addresses() {
        let nodes = [node("a", "2026-01-01T00:00:00Z", "", "")];
        let place = place(&nodes, "a");
        assert_eq!((place.zone.as_str(), place.node_addresses.len()), ("z1", 1));
    }
}
