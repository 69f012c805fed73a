//! Which nodes a DaemonSet's pods belong on, and how a pod is tied to one. Rules: upstream `daemon_controller.go` (`NodeShouldRunDaemonPod`) and
//! `daemon/util/daemonset_util.go`.

use coracle_api::{affinity, pods};
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

use crate::node_health::{self, eviction::tolerates};

/// The field by which a pod names its node.
const NAME: &str = "metadata.name";
/// What a DaemonSet's pods put up with wherever they are: the node's troubles are theirs.
const TOLERATED: [(&str, &str); 6] = [
    (node_health::NOT_READY, "NoExecute"),
    (node_health::UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Only pods that use the node's network run before it works.
const OF_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node means to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A pod belongs there.
    Wanted,
    /// None is made there, but one that is may stay.
    Tolerated,
    /// None belongs there.
    Unwanted,
}

/// What a node means to a set with this pod spec.
#[must_use]
pub fn place(spec: &PodSpec, node: &Node) -> Place {
    let probe = Pod {
        spec: Some(PodSpec {
            node_selector: spec.node_selector.clone(),
            affinity: spec.affinity.clone(),
            ..PodSpec::default()
        }),
        ..Pod::default()
    };
    let named = spec.node_name.as_ref().filter(|name| !name.is_empty());
    let is_named = named.is_none_or(|name| Some(name) == node.metadata.name.as_ref());
    if !is_named || !affinity::matches(&probe, node) {
        return Place::Unwanted;
    }
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    tolerate(&mut tolerations, spec.host_network == Some(true));
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let untolerated = |effect: &str| {
        let mut of = taints
            .into_iter()
            .flatten()
            .filter(|taint| taint.effect == effect);
        of.any(|taint| !tolerations.iter().any(|one| tolerates(one, taint)))
    };
    if untolerated("NoExecute") {
        Place::Unwanted
    } else if untolerated("NoSchedule") {
        Place::Tolerated
    } else {
        Place::Wanted
    }
}

/// Adds what a set's pods tolerate unasked.
fn tolerate(tolerations: &mut Vec<Toleration>, host_network: bool) {
    let all = TOLERATED.into_iter();
    for (key, effect) in all.chain(host_network.then_some(OF_NETWORK)) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Ties a pod to a node, for the scheduler to bind, and has it tolerate what that may be like.
pub fn pin(spec: &mut PodSpec, node: &str) {
    let host_network = spec.host_network == Some(true);
    tolerate(spec.tolerations.get_or_insert_default(), host_network);
    let affinity = spec.affinity.get_or_insert_default();
    let of_nodes = affinity.node_affinity.get_or_insert_default();
    // That the node is selected was decided already.
    of_nodes.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(vec![NodeSelectorRequirement {
                key: NAME.to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.to_owned()]),
            }]),
            match_expressions: None,
        }],
    });
}

/// The node a pod is on, or is tied to.
#[must_use]
pub fn node_of(pod: &Pod) -> Option<String> {
    if let Some(name) = pods::node_name(pod) {
        return Some(name.to_owned());
    }
    affinity::named(pod)?.into_iter().next()
}
