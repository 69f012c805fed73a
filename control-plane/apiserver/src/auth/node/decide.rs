//! Whether a node may make a request (in the manner of upstream's node authorizer, KEP-2305 and KEP-4601). Pure: looks at the request and the graph of
//! pods. What a node writes is looked at in [`super::restriction`].

use coracle_api::selector::FieldSelector;

use super::graph::{Graph, Referred};
use crate::auth::attributes::{Attributes, ResourceTarget, Target};

/// The namespace of the nodes' Leases.
pub const LEASES: &str = "kube-node-lease";
const COORDINATION: &str = "coordination.k8s.io";
const CORACLE: &str = "node.coracle.dev";

/// The node authorizer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// The node may.
    Allowed,
    /// Nothing here allows it, for this reason; rules of RBAC may.
    None(String),
}

/// What `node` may do.
#[must_use]
pub fn decide(graph: &Graph, node: &str, attributes: &Attributes<'_>) -> Opinion {
    let Target::Resource(target) = attributes.target else {
        return none("");
    };
    let verb = attributes.verb;
    match (target.group, target.resource) {
        // Nodes reach each other's pods, so each knows all.
        ("", "nodes") if target.subresource.is_none() && ["list", "watch"].contains(&verb) => {
            Opinion::Allowed
        }
        ("", "nodes") => own_node(node, verb, &target),
        ("", "pods") => pods(graph, node, verb, &target),
        ("", "secrets") => referred(graph, Referred::Secret, node, verb, &target),
        ("", "configmaps") => referred(graph, Referred::ConfigMap, node, verb, &target),
        ("", "serviceaccounts") => referred(graph, Referred::ServiceAccount, node, verb, &target),
        ("", "persistentvolumeclaims") => {
            referred(graph, Referred::PersistentVolumeClaim, node, verb, &target)
        }
        (COORDINATION, "leases") => own_lease(node, verb, &target),
        // The node's service router, and the policies it enforces, need all of them.
        ("", "services" | "endpoints" | "namespaces")
        | ("discovery.k8s.io", "endpointslices")
        | ("networking.k8s.io", "networkpolicies") => {
            one_of(verb, &["get", "list", "watch"], &target)
        }
        ("", "events") | ("events.k8s.io", "events") => {
            one_of(verb, &["create", "patch", "update"], &target)
        }
        (CORACLE, "links") => own(node, verb, &["create"], target.name),
        _ => none(""),
    }
}

fn none(reason: impl Into<String>) -> Opinion {
    Opinion::None(reason.into())
}

/// Allows some verbs on everything of a kind, but not on subresources.
fn one_of(verb: &str, verbs: &[&str], target: &ResourceTarget<'_>) -> Opinion {
    if target.subresource.is_none() && verbs.contains(&verb) {
        Opinion::Allowed
    } else {
        none("")
    }
}

/// Allows some verbs on the object that has the node's name.
fn own(node: &str, verb: &str, verbs: &[&str], name: Option<&str>) -> Opinion {
    if !verbs.contains(&verb) {
        return none("");
    }
    match name {
        Some(name) if name == node => Opinion::Allowed,
        _ => none(format!("node {node:?} may only reach its own object")),
    }
}

fn own_node(node: &str, verb: &str, target: &ResourceTarget<'_>) -> Opinion {
    match (target.subresource, verb) {
        // The name of what is created is in the body.
        (None, "create") => Opinion::Allowed,
        (None, _) => own(
            node,
            verb,
            &["get", "list", "watch", "patch", "update"],
            target.name,
        ),
        (Some("status"), _) => own(node, verb, &["get", "patch", "update"], target.name),
        (Some(_), _) => none(""),
    }
}

fn own_lease(node: &str, verb: &str, target: &ResourceTarget<'_>) -> Opinion {
    if target.subresource.is_some() {
        return none("");
    }
    if target.namespace != Some(LEASES) {
        return none(format!(
            "node {node:?} may only reach leases in namespace {LEASES:?}"
        ));
    }
    match verb {
        // The name of what is created is in the body.
        "create" => Opinion::Allowed,
        _ => own(
            node,
            verb,
            &["get", "list", "watch", "patch", "update", "delete"],
            target.name,
        ),
    }
}

fn pods(graph: &Graph, node: &str, verb: &str, target: &ResourceTarget<'_>) -> Opinion {
    match (target.subresource, verb) {
        (None, "list" | "watch") => {
            if selects_own(node, target.field_selector) {
                return Opinion::Allowed;
            }
            none(format!(
                "node {node:?} may only list and watch pods with the field selector spec.nodeName={node}"
            ))
        }
        // What is written is looked at once more with the pod at hand ([`super::restriction`]). Of a pod that was deleted meanwhile the node learns that it
        // is not there, which ends its reports; a refusal would have it try again.
        (Some("status"), "patch" | "update") => match (target.namespace, target.name) {
            (Some(namespace), Some(name)) if !graph.is_elsewhere(namespace, name, node) => {
                Opinion::Allowed
            }
            _ => none(unrelated(node)),
        },
        (None, "get" | "delete") | (Some("status"), "get") | (Some("eviction"), "create") => {
            match (target.namespace, target.name) {
                (Some(namespace), Some(name)) if graph.is_bound(namespace, name, node) => {
                    Opinion::Allowed
                }
                _ => none(unrelated(node)),
            }
        }
        _ => none(""),
    }
}

/// Whether a field selector leaves only pods of `node`.
fn selects_own(node: &str, selector: Option<&str>) -> bool {
    selector
        .and_then(|text| FieldSelector::parse(text).ok())
        .is_some_and(|selector| selector.exact("spec.nodeName") == Some(node))
}

fn referred(
    graph: &Graph,
    kind: Referred,
    node: &str,
    verb: &str,
    target: &ResourceTarget<'_>,
) -> Opinion {
    // A list or watch of one named object is as good as a get.
    let reads: &[&str] = match kind {
        Referred::Secret | Referred::ConfigMap => &["get", "list", "watch"],
        Referred::ServiceAccount | Referred::PersistentVolumeClaim => &["get"],
    };
    if target.subresource.is_some() || !reads.contains(&verb) {
        return none("");
    }
    match (target.namespace, target.name) {
        (Some(namespace), Some(name)) if graph.refers(node, kind, namespace, name) => {
            Opinion::Allowed
        }
        (Some(_), Some(_)) => none(unrelated(node)),
        _ => none(format!(
            "node {node:?} may only read single objects its pods refer to"
        )),
    }
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node {node:?} and this object")
}

#[cfg(test)]
mod tests;
