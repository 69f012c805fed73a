//! Whether a node can take a pod at all, and why not. Reasons are upstream's, word for word: people search for them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerPort, Node, Pod};

use crate::{
    affinity,
    resources::{PODS, Resources},
    snapshot::NodeState,
    taints,
};

/// The taint that an unschedulable node counts as having.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Why `node` cannot take `pod`; nothing when it can.
#[must_use]
pub fn refusals(pod: &Pod, wanted: &Resources, node: &Node, state: &NodeState) -> Vec<String> {
    let spec = pod.spec.as_ref();
    let spec_of_node = node.spec.as_ref();
    let cordoned = spec_of_node.is_some_and(|spec| spec.unschedulable == Some(true));
    if cordoned && !tolerates_cordon(pod) {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    let named = spec.and_then(|spec| spec.node_name.as_deref());
    if named.is_some_and(|named| node.metadata.name.as_deref() != Some(named)) {
        return vec!["node(s) didn't match the requested node name".to_owned()];
    }
    let tainted = spec_of_node.and_then(|spec| spec.taints.as_deref());
    let untolerated = taints::untolerated(
        pod,
        tainted.unwrap_or_default(),
        &["NoSchedule", "NoExecute"],
    );
    if let Some(taint) = untolerated {
        let value = taint.value.as_deref().unwrap_or_default();
        return vec![format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        )];
    }
    if !affinity::matches(pod, node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    let ports = host_ports(pod);
    let are_taken = !ports.is_empty()
        && state
            .pods
            .values()
            .any(|other| host_ports(other).iter().any(|port| clashes(&ports, port)));
    if are_taken {
        return vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
    }
    lacking(wanted, state)
}

/// Which resources there is too little of.
fn lacking(wanted: &Resources, state: &NodeState) -> Vec<String> {
    let short = wanted.iter().filter(|(name, amount)| {
        let free = state
            .allocatable
            .get(name)
            .saturating_sub(state.requested.get(name));
        *amount > 0 && *amount > free
    });
    let reasons = short.map(|(name, _)| match name {
        PODS => "Too many pods".to_owned(),
        name => format!("Insufficient {name}"),
    });
    reasons.collect()
}

fn tolerates_cordon(pod: &Pod) -> bool {
    let taint = k8s_openapi::api::core::v1::Taint {
        key: UNSCHEDULABLE.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    };
    taints::is_tolerated(pod, &taint)
}

/// A port of the node: protocol, address, number.
type HostPort = (String, String, i32);

fn host_ports(pod: &Pod) -> BTreeSet<HostPort> {
    let spec = pod.spec.as_ref();
    let containers = spec
        .map(|spec| spec.containers.iter())
        .into_iter()
        .flatten();
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let of = |port: &ContainerPort| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let address = port.host_ip.clone().filter(|ip| !ip.is_empty());
        Some((
            protocol,
            address.unwrap_or_else(|| "0.0.0.0".to_owned()),
            number,
        ))
    };
    ports.filter_map(of).collect()
}

/// The same port of the same protocol, at the same address or at all of them.
fn clashes(wanted: &BTreeSet<HostPort>, taken: &HostPort) -> bool {
    wanted.iter().any(|(protocol, address, number)| {
        *protocol == taken.0
            && *number == taken.2
            && (*address == taken.1 || address == "0.0.0.0" || taken.1 == "0.0.0.0")
    })
}
