//! What a node may write into the objects it may write (in the manner of upstream's NodeRestriction admission): its own name, nothing that would draw
//! other pods or more trust to it. Pure.

use coracle_api::names::ObjectKey;
use serde_json::{Map, Value};

use super::decide::LEASES;

/// Labels with this prefix are for administrators to mark nodes with, out of the nodes' own reach.
const RESERVED: &str = "node-restriction.kubernetes.io/";
/// The labels in Kubernetes' own domains that a node may set on itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// The domains below which a node may set any label on itself.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// What a pod's status may not drag along: the fields of a pod's metadata that move or keep it.
const POD_METADATA: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];

/// Something a node writes.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The API group.
    pub group: &'a str,
    /// The plural resource name.
    pub resource: &'a str,
    /// Where.
    pub key: &'a ObjectKey,
    /// What it shall be.
    pub new: &'a Value,
    /// What it was; `None` when it is new.
    pub old: Option<&'a Value>,
}

/// Whether `node` may write this, given that it may write the object at all.
///
/// # Errors
/// Why not, to stand after `… is forbidden: `.
pub fn check(node: &str, written: &Written<'_>) -> Result<(), String> {
    match (written.group, written.resource) {
        ("", "nodes") => {
            if written.key.name != node {
                return Err(format!(
                    "node {node:?} is not allowed to modify node {:?}",
                    written.key.name
                ));
            }
            own_node(node, written)
        }
        ("coordination.k8s.io", "leases") => {
            let namespace = written.key.namespace.as_deref();
            if written.key.name == node && namespace == Some(LEASES) {
                Ok(())
            } else {
                Err(format!(
                    "node {node:?} can only access its own lease in namespace {LEASES:?}"
                ))
            }
        }
        ("", "pods") => own_pod(node, written),
        _ => Ok(()),
    }
}

fn own_node(node: &str, written: &Written<'_>) -> Result<(), String> {
    let part = |object: Option<&'_ Value>, pointer: &str| {
        object
            .and_then(|object| object.pointer(pointer))
            .filter(|value| !is_nothing(value))
            .cloned()
    };
    if written.old.is_some() {
        let changed = |pointer| part(Some(written.new), pointer) != part(written.old, pointer);
        if changed("/spec/taints") {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
        if changed("/metadata/ownerReferences") {
            return Err(format!(
                "node {node:?} is not allowed to modify its owner references"
            ));
        }
    }
    let labels = |object: Option<&Value>| -> Map<String, Value> {
        let found = object.and_then(|object| object.pointer("/metadata/labels"));
        found
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (new, old) = (labels(Some(written.new)), labels(written.old));
    let mut refused: Vec<&str> = new
        .keys()
        .chain(old.keys())
        .filter(|label| new.get(*label) != old.get(*label) && !is_own(label))
        .map(String::as_str)
        .collect();
    refused.sort_unstable();
    refused.dedup();
    if refused.is_empty() {
        return Ok(());
    }
    Err(format!(
        "node {node:?} is not allowed to modify labels: {}",
        refused.join(", ")
    ))
}

/// Null and empty lists are as good as nothing.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Whether a node may set the label on itself: any outside of Kubernetes' domains, and some within.
fn is_own(label: &str) -> bool {
    if label.starts_with(RESERVED) {
        return false;
    }
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |root: &str| {
        domain == root
            || domain
                .strip_suffix(root)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    !(within("kubernetes.io") || within("k8s.io"))
        || OWN_LABELS.contains(&label)
        || OWN_DOMAINS.iter().any(|own| within(own))
}

/// A node reports on a pod and deletes it; everything else about it is others' business.
fn own_pod(node: &str, written: &Written<'_>) -> Result<(), String> {
    let Some(old) = written.old else {
        return Err(format!("node {node:?} is not allowed to create pods"));
    };
    let bound = |pod: &Value| pod.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node);
    if !bound(old) {
        return Err(format!(
            "node {node:?} can only update pods with spec.nodeName set to itself"
        ));
    }
    let kept = old.get("spec") == written.new.get("spec")
        && POD_METADATA.iter().all(|field| {
            let at = |pod: &Value| {
                pod.pointer("/metadata")
                    .and_then(|metadata| metadata.get(field))
                    .cloned()
            };
            at(old) == at(written.new)
        });
    if kept {
        Ok(())
    } else {
        Err(format!("node {node:?} can only update the status of pods"))
    }
}

#[cfg(test)]
mod tests;
