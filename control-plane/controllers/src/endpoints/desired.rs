//! The endpoints a Service should have: its pods with an address, their states, and which ports they have them on. Rules: upstream
//! `k8s.io/endpointslice`.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use coracle_api::pods;
use k8s_openapi::{
    api::{
        core::v1::{Node, ObjectReference, Pod, Service, ServicePort, ServiceSpec},
        discovery::v1::{
            Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
        },
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

/// The label with a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// What endpoints have to have in common to be in one slice: the family of addresses and the ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// The ports.
    pub ports: Vec<PortKey>,
}

/// A port in a form that can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortKey {
    name: String,
    protocol: String,
    port: i32,
    app_protocol: Option<String>,
}

impl PortKey {
    /// The key of a port as a slice has it.
    #[must_use]
    pub fn of(port: &EndpointPort) -> Self {
        Self {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: port.port.unwrap_or(0),
            app_protocol: port.app_protocol.clone(),
        }
    }

    /// The port as a slice has it.
    #[must_use]
    pub fn to_port(&self) -> EndpointPort {
        EndpointPort {
            name: Some(self.name.clone()),
            protocol: Some(self.protocol.clone()),
            port: Some(self.port),
            app_protocol: self.app_protocol.clone(),
        }
    }
}

/// The endpoints by what they have in common, each group in the order of pods.
pub type Desired = BTreeMap<Group, Vec<Endpoint>>;

/// Whether a Service has no address of its own.
#[must_use]
pub fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

/// The families of addresses a Service has.
#[must_use]
pub fn families(spec: &ServiceSpec) -> Vec<&'static str> {
    let named = spec.ip_families.iter().flatten();
    let mut families: Vec<&'static str> = named
        .filter_map(|name| ["IPv4", "IPv6"].into_iter().find(|known| known == name))
        .collect();
    if families.is_empty() {
        families.push("IPv4");
    }
    families
}

/// Finds the endpoints of a Service among the pods it selects.
#[must_use]
pub fn desired<'a>(
    service: &Service,
    spec: &ServiceSpec,
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    node: impl Fn(&str) -> Option<&'a Arc<Node>>,
) -> Desired {
    let mut desired = Desired::new();
    for pod in pods {
        if pods::is_terminal(pod) {
            continue;
        }
        let ports = ports(spec, pod);
        for family in families(spec) {
            let Some(address) = address(pod, family) else {
                continue;
            };
            let group = Group {
                family,
                ports: ports.clone(),
            };
            let zone = pods::node_name(pod)
                .and_then(&node)
                .and_then(|node| zone(node));
            let endpoint = endpoint(service, spec, pod, address, zone);
            desired.entry(group).or_default().push(endpoint);
        }
    }
    desired
}

fn zone(node: &Node) -> Option<String> {
    node.metadata.labels.as_ref()?.get(ZONE).cloned()
}

fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
    let mut all = all.chain(status.pod_ip.as_deref());
    let of_family = |text: &&str| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => family == "IPv4",
        Ok(IpAddr::V6(_)) => family == "IPv6",
        Err(_) => false,
    };
    all.find(of_family).map(str::to_owned)
}

fn endpoint(
    service: &Service,
    spec: &ServiceSpec,
    pod: &Pod,
    address: String,
    zone: Option<String>,
) -> Endpoint {
    let meta = &pod.metadata;
    let serving = pods::is_ready(pod);
    let terminating = meta.deletion_timestamp.is_some();
    let publish = spec.publish_not_ready_addresses == Some(true);
    let pod_spec = pod.spec.as_ref();
    let hostname = pod_spec.and_then(|spec| {
        let in_service = spec.subdomain == service.metadata.name;
        spec.hostname
            .clone()
            .filter(|name| in_service && !name.is_empty())
    });
    let is_ready = publish || (serving && !terminating);
    Endpoint {
        hints: is_ready
            .then(|| hints(spec, pod, zone.as_deref()))
            .flatten(),
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(is_ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname,
        node_name: pods::node_name(pod).map(str::to_owned),
        zone,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

/// Who should use an endpoint, where the Service wants its traffic kept near (upstream: `k8s.io/endpointslice/trafficdist`).
fn hints(spec: &ServiceSpec, pod: &Pod, zone: Option<&str>) -> Option<EndpointHints> {
    let keeps_to_node = match spec.traffic_distribution.as_deref()? {
        "PreferSameNode" => true,
        "PreferSameZone" | "PreferClose" => false,
        _ => return None,
    };
    let node = pods::node_name(pod).filter(|_| keeps_to_node);
    let for_nodes = node.map(|name| {
        vec![ForNode {
            name: name.to_owned(),
        }]
    });
    let for_zones = zone.map(|name| {
        vec![ForZone {
            name: name.to_owned(),
        }]
    });
    (for_nodes.is_some() || for_zones.is_some()).then_some(EndpointHints {
        for_nodes,
        for_zones,
    })
}

/// The ports on which a pod has what the Service offers. A named port that the pod does not have is left out.
fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<PortKey> {
    let mut ports: Vec<PortKey> = spec
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some(PortKey {
                name: port.name.clone().unwrap_or_default(),
                port: number(port, &protocol, pod)?,
                protocol,
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort();
    ports
}

fn number(port: &ServicePort, protocol: &str, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            // Sidecars are init containers that go on.
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
            let containers = spec.containers.iter().chain(sidecars);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            let found = ports.find(|one| {
                let own = one.protocol.as_deref().unwrap_or("TCP");
                one.name.as_deref() == Some(name) && own == protocol
            });
            found.map(|one| one.container_port)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hints_keep_traffic_near_where_the_service_wants_it() {
        let pod: Pod =
            serde_json::from_value(json!({ "spec": { "nodeName": "n1", "containers": [] } }))
                .unwrap();
        let of = |distribution: Option<&str>, zone: Option<&str>| {
            let spec = ServiceSpec {
                traffic_distribution: distribution.map(str::to_owned),
                ..ServiceSpec::default()
            };
            let hints = hints(&spec, &pod, zone)?;
            let nodes = hints.for_nodes.iter().flatten().map(|one| one.name.clone());
            let zones = hints.for_zones.iter().flatten().map(|one| one.name.clone());
            Some((nodes.collect::<Vec<_>>(), zones.collect::<Vec<_>>()))
        };
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        for near in ["PreferClose", "PreferSameZone"] {
            assert_eq!(
                of(Some(near), Some("z1")),
                Some((names(&[]), names(&["z1"])))
            );
            assert_eq!(of(Some(near), None), None);
        }
        let node = of(Some("PreferSameNode"), Some("z1"));
        assert_eq!(node, Some((names(&["n1"]), names(&["z1"]))));
        assert_eq!(of(None, Some("z1")), None);
    }
}
