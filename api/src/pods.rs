//! Reads pods the way controllers, the scheduler and nodes need it. Pure predicates; nothing is decided here.

use k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde_json::Value;

/// The seconds a pod gets to end when its spec does not say.
pub const DEFAULT_GRACE_SECONDS: i64 = 30;

/// The one owner reference whose owner manages the object.
#[must_use]
pub fn controller_ref(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// Whether the object is controlled by the owner with this uid.
#[must_use]
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_ref(meta).is_some_and(|owner| owner.uid == uid)
}

/// Whether the pod has ended for good.
#[must_use]
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod is neither ended nor being deleted.
#[must_use]
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// The phase, empty when none is known yet.
#[must_use]
pub fn phase(pod: &Pod) -> &str {
    status(pod)
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// The pod's condition of a type.
#[must_use]
pub fn condition<'a>(pod: &'a Pod, of: &str) -> Option<&'a PodCondition> {
    status(pod)?
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == of)
}

/// Whether the pod takes traffic.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// The node the pod is bound to.
#[must_use]
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty())
}

fn status(pod: &Pod) -> Option<&PodStatus> {
    pod.status.as_ref()
}

/// How long a pod's deletion is put off, in seconds: what its spec says, or nothing when no node could have started it or it has ended.
#[must_use]
pub fn grace_period(pod: &Value) -> Option<i64> {
    let text = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed")
    {
        return Some(0);
    }
    Some(
        pod.pointer("/spec/terminationGracePeriodSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(DEFAULT_GRACE_SECONDS),
    )
}

/// A hash of a pod template in the letters Kubernetes uses for generated names (no vowels and none that look alike), so that it cannot spell
/// anything. `collisions` makes another one of the same template.
#[must_use]
pub fn template_hash(template: &Value, collisions: i32) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // FNV-1a over the canonical JSON: serde_json's maps are ordered by key.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in template.to_string().bytes().chain(collisions.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut text = String::new();
    for _ in 0..10 {
        let index = usize::try_from(hash % LETTERS.len() as u64).unwrap_or_default();
        text.extend(LETTERS.get(index).map(|letter| char::from(*letter)));
        hash /= LETTERS.len() as u64;
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_no_node_runs_are_deleted_at_once() {
        assert_eq!(grace_period(&json!({"spec": {}})), Some(0));
        assert_eq!(
            grace_period(&json!({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}})),
            Some(0)
        );
        assert_eq!(
            grace_period(&json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 5}})),
            Some(5)
        );
        assert_eq!(grace_period(&json!({"spec": {"nodeName": "n"}})), Some(30));
    }

    #[test]
    fn template_hashes_tell_templates_and_collisions_apart() {
        let (a, b) = (json!({"spec": {"x": 1}}), json!({"spec": {"x": 2}}));
        assert_eq!(template_hash(&a, 0), template_hash(&a.clone(), 0));
        assert_ne!(template_hash(&a, 0), template_hash(&b, 0));
        assert_ne!(template_hash(&a, 0), template_hash(&a, 1));
        assert_eq!(template_hash(&a, 0).len(), 10);
    }
}
