//! Defaults, per kind, as upstream fills them in when an object is written. Missing ones show as a difference for ever in `kubectl diff` and in
//! every GitOps tool. All are idempotent; none looks at anything but the object.

pub mod pod;

use serde_json::{Map, Value, json};

/// Sets `key` unless it is there.
pub(crate) fn or_set(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let present = map.get(key).is_some_and(|value| !value.is_null());
    if !present {
        map.insert(key.to_owned(), value.into());
    }
}

/// The map at `key`, made when it is missing.
pub(crate) fn map_at<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> Option<&'a mut Map<String, Value>> {
    let present = map.get(key).is_some_and(|value| !value.is_null());
    if !present {
        map.insert(key.to_owned(), json!({}));
    }
    map.get_mut(key)?.as_object_mut()
}

/// The map at `key`, if there is one.
pub(crate) fn map_in<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(key)?.as_object_mut()
}

/// The maps of the list at `key`.
pub(crate) fn maps_in<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let items = map.get_mut(key).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The text at `key`, or nothing.
pub(crate) fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn spec(object: &mut Value) -> Option<&mut Map<String, Value>> {
    map_at(object.as_object_mut()?, "spec")
}

/// Defaults of a Namespace: it is active, bears its own name as a label, and is finalized by the namespace controller.
pub fn namespace(object: &mut Value) {
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let Some(object) = object.as_object_mut() else {
        return;
    };
    if let Some(status) = map_at(object, "status") {
        or_set(status, "phase", "Active");
    }
    let labels = map_at(object, "metadata").and_then(|metadata| map_at(metadata, "labels"));
    if let Some(labels) = labels.filter(|_| !name.is_empty()) {
        or_set(labels, "kubernetes.io/metadata.name", name);
    }
}

/// Defaults of a Secret; `stringData` becomes `data`.
pub fn secret(object: &mut Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    or_set(object, "type", "Opaque");
    if let Some(Value::Object(plain)) = object.remove("stringData")
        && let Some(data) = map_at(object, "data")
    {
        for (key, value) in plain {
            if let Value::String(text) = value {
                data.insert(key, base64(text.as_bytes()).into());
            }
        }
    }
}

/// Standard base64 (RFC 4648, section 4) with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let index = usize::try_from(word >> (18 - 6 * position) & 63).unwrap_or_default();
            let letter = LETTERS.get(index).copied().unwrap_or(b'=');
            text.push(if position <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

/// Defaults of a Service. Addresses and node ports are given by the API server, which knows what is taken.
pub fn service(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    or_set(spec, "sessionAffinity", "None");
    or_set(spec, "type", "ClusterIP");
    let kind = text(spec, "type").to_owned();
    if text(spec, "sessionAffinity") == "ClientIP"
        && let Some(client) =
            map_at(spec, "sessionAffinityConfig").and_then(|config| map_at(config, "clientIP"))
    {
        or_set(client, "timeoutSeconds", 10800);
    }
    for port in maps_in(spec, "ports") {
        or_set(port, "protocol", "TCP");
        let number = port.get("port").cloned();
        let unset = port
            .get("targetPort")
            .is_none_or(|target| target.is_null() || target == "" || *target == json!(0));
        if let (true, Some(number)) = (unset, number) {
            port.insert("targetPort".to_owned(), number);
        }
    }
    if kind != "ExternalName" {
        or_set(spec, "internalTrafficPolicy", "Cluster");
        or_set(spec, "ipFamilyPolicy", "SingleStack");
        or_set(spec, "ipFamilies", json!(["IPv4"]));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        or_set(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        or_set(spec, "allocateLoadBalancerNodePorts", true);
    }
    if let Some(object) = object.as_object_mut()
        && let Some(status) = map_at(object, "status")
    {
        or_set(status, "loadBalancer", json!({}));
    }
}

/// Defaults of a Deployment.
pub fn deployment(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    or_set(spec, "replicas", 1);
    or_set(spec, "revisionHistoryLimit", 10);
    or_set(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = map_at(spec, "strategy") {
        or_set(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = map_at(strategy, "rollingUpdate")
        {
            or_set(rolling, "maxUnavailable", "25%");
            or_set(rolling, "maxSurge", "25%");
        }
    }
    pod::template(spec);
}

/// Defaults of a ReplicaSet.
pub fn replica_set(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    or_set(spec, "replicas", 1);
    pod::template(spec);
    // Labels of the template serve as the set's own where it has none.
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    if let (Some(labels), Some(object)) = (labels, object.as_object_mut())
        && let Some(metadata) = map_at(object, "metadata")
    {
        or_set(metadata, "labels", labels);
    }
}

/// The labels by which a Job's pods are found; the first two are the names of old, still set beside the prefixed ones.
pub const JOB_LABELS: [&str; 4] = [
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
];

/// Defaults of a Job. The selector and its labels come from the Job's uid, so they appear once it has one.
pub fn job(object: &mut Value) {
    let uid = object
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    // The user's labels of the template serve as the Job's own where it has none.
    let mut own_labels = object
        .pointer("/spec/template/metadata/labels")
        .cloned()
        .unwrap_or_default();
    if let Some(labels) = own_labels.as_object_mut() {
        labels.retain(|label, _| !JOB_LABELS.contains(&label.as_str()));
    }
    let Some(spec) = spec(object) else { return };
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        or_set(spec, "completions", 1);
    }
    or_set(spec, "parallelism", 1);
    or_set(spec, "backoffLimit", 6);
    or_set(spec, "completionMode", "NonIndexed");
    or_set(spec, "suspend", false);
    let by_finalizer = spec.get("podFailurePolicy").is_some();
    or_set(
        spec,
        "podReplacementPolicy",
        if by_finalizer {
            "Failed"
        } else {
            "TerminatingOrFailed"
        },
    );
    let manual = spec.get("manualSelector").and_then(Value::as_bool) == Some(true);
    if let (Some(uid), false) = (uid, manual) {
        let labels = map_at(spec, "template")
            .and_then(|template| map_at(template, "metadata"))
            .and_then(|metadata| map_at(metadata, "labels"));
        if let Some(labels) = labels {
            for (label, value) in JOB_LABELS.iter().zip([&uid, &name, &uid, &name]) {
                labels.insert((*label).to_owned(), value.as_str().into());
            }
        }
        or_set(
            spec,
            "selector",
            json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } }),
        );
    }
    pod::template(spec);
    let any = own_labels
        .as_object()
        .is_some_and(|labels| !labels.is_empty());
    if let (true, Some(object)) = (any, object.as_object_mut())
        && let Some(metadata) = map_at(object, "metadata")
    {
        or_set(metadata, "labels", own_labels);
    }
}

/// Defaults of a HorizontalPodAutoscaler: one replica at least, 80 % of the requested CPU.
pub fn autoscaler(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    or_set(spec, "minReplicas", 1);
    let empty = spec
        .get("metrics")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty);
    if empty {
        let cpu = json!([{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }]);
        spec.insert("metrics".to_owned(), cpu);
    }
    let Some(behavior) = map_in(spec, "behavior") else {
        return;
    };
    let up = json!([{ "type": "Pods", "value": 4, "periodSeconds": 15 }, { "type": "Percent", "value": 100, "periodSeconds": 15 }]);
    let down = json!([{ "type": "Percent", "value": 100, "periodSeconds": 15 }]);
    for (direction, policies, window) in [("scaleUp", up, Some(0)), ("scaleDown", down, None)] {
        let Some(rules) = map_at(behavior, direction) else {
            continue;
        };
        or_set(rules, "selectPolicy", "Max");
        or_set(rules, "policies", policies);
        if let Some(window) = window {
            or_set(rules, "stabilizationWindowSeconds", window);
        }
    }
}

/// Defaults of a RoleBinding or ClusterRoleBinding: groups of the API that subjects and roles belong to.
pub fn role_binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let Some(object) = object.as_object_mut() else {
        return;
    };
    if let Some(role) = map_in(object, "roleRef") {
        or_set(role, "apiGroup", GROUP);
    }
    for subject in maps_in(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            or_set(subject, "apiGroup", GROUP);
        }
    }
}

#[cfg(test)]
mod tests;
