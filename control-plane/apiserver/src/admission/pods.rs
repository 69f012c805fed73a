//! What every new pod gets from the cluster: a service account, a priority, and a time to outlive an unreachable node.

use serde_json::{Value, json};

use crate::{meta, writes::Write};

/// How long a pod stays bound to a node that is not ready or unreachable, as upstream.
const TOLERATION_SECONDS: u64 = 300;
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The two classes that exist in every cluster.
const SYSTEM_PRIORITIES: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

pub(super) fn admit(write: &Write<'_>, pod: &mut Value) {
    let account = write.server.default_service_account.clone();
    let spec = meta::child_mut(pod, "spec");
    let named = |value: Option<&Value>| {
        value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    // The second name is deprecated and mirrors the first.
    let account = named(spec.get("serviceAccountName"))
        .or_else(|| named(spec.get("serviceAccount")))
        .or(account);
    if let Some(account) = account {
        spec.insert("serviceAccountName".to_owned(), json!(account));
        spec.insert("serviceAccount".to_owned(), json!(account));
    }
    let class = named(spec.get("priorityClassName"));
    let priority = class
        .as_deref()
        .and_then(|class| SYSTEM_PRIORITIES.iter().find(|(name, _)| *name == class))
        .map_or(0, |(_, priority)| *priority);
    spec.entry("priority").or_insert(json!(priority));
    spec.entry("preemptionPolicy").or_insert(json!("PreemptLowerPriority"));
    tolerate(spec.entry("tolerations").or_insert_with(|| json!([])));
}

/// Adds the two tolerations unless the pod has its own for these taints.
fn tolerate(tolerations: &mut Value) {
    let Some(tolerations) = tolerations.as_array_mut() else {
        return;
    };
    for taint in [NOT_READY, UNREACHABLE] {
        let tolerated = tolerations.iter().any(|toleration| {
            let key = meta::text_at(toleration, &["key"]).unwrap_or_default();
            let effect = meta::text_at(toleration, &["effect"]).unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            tolerations.push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_tolerations_are_left_alone() {
        let mut own = json!([{"key": NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]);
        tolerate(&mut own);
        let keys: Vec<_> = own.as_array().unwrap().iter().map(|t| t["key"].clone()).collect();
        assert_eq!(keys, [NOT_READY, UNREACHABLE]);
        assert_eq!(own[0]["tolerationSeconds"], 5);
        let mut everything = json!([{"operator": "Exists"}]);
        tolerate(&mut everything);
        assert_eq!(everything, json!([{"operator": "Exists"}]));
    }
}
