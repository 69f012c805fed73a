//! Taints and tolerations (upstream: `TaintToleration`).

use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use crate::snapshot::NodeState;

/// Whether a toleration covers a taint.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        // An empty key needs `Exists`.
        "Equal" | "" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

/// The taint that an unschedulable node counts as having.
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// The first of `taints` that `pod` does not tolerate.
#[must_use]
pub fn untolerated<'a>(pod: &Pod, taints: &'a [Taint]) -> Option<&'a Taint> {
    taints.iter().find(|taint| !is_tolerated(pod, taint))
}

/// Whether `pod` may go to nodes that take no new pods.
#[must_use]
pub fn tolerates_cordon(pod: &Pod) -> bool {
    let taint = Taint {
        key: CORDON.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    is_tolerated(pod, &taint)
}

/// How many taints of a node `pod` would rather not have.
#[must_use]
pub fn n_disliked(pod: &Pod, state: &NodeState) -> i64 {
    let disliked = state
        .disliked
        .iter()
        .filter(|taint| !is_tolerated(pod, taint));
    i64::try_from(disliked.count()).unwrap_or(i64::MAX)
}

/// Whether `pod` tolerates a taint.
#[must_use]
pub fn is_tolerated(pod: &Pod, taint: &Taint) -> bool {
    let spec = pod.spec.as_ref();
    let tolerations = spec.and_then(|spec| spec.tolerations.as_ref());
    tolerations
        .into_iter()
        .flatten()
        .any(|toleration| tolerates(toleration, taint))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tolerations_cover_what_upstreams_do() {
        let taint: Taint =
            serde_json::from_value(json!({ "key": "k", "value": "v", "effect": "NoSchedule" }))
                .unwrap();
        let covers = |toleration: serde_json::Value| {
            tolerates(&serde_json::from_value(toleration).unwrap(), &taint)
        };
        assert!(covers(json!({ "operator": "Exists" })));
        assert!(covers(json!({ "key": "k", "operator": "Exists" })));
        assert!(covers(json!({ "key": "k", "value": "v" })));
        assert!(covers(
            json!({ "key": "k", "value": "v", "effect": "NoSchedule" })
        ));
        assert!(!covers(json!({ "key": "k", "value": "other" })));
        assert!(!covers(json!({ "key": "k" })));
        assert!(!covers(
            json!({ "key": "k", "operator": "Exists", "effect": "NoExecute" })
        ));
        assert!(!covers(json!({ "value": "v" })));
    }
}
