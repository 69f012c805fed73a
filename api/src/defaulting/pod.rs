//! Defaults of pods and pod templates (upstream `pkg/apis/core/v1/defaults.go`).

use serde_json::{Map, Value, json};

use super::{map_at, map_in, maps_in, or_set, text};

/// Defaults of a Pod.
pub fn pod(object: &mut Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    if let Some(spec) = map_at(object, "spec") {
        pod_spec(spec);
        // A pod, unlike a template, also gets its requests from its limits.
        for field in ["initContainers", "containers"] {
            for container in maps_in(spec, field) {
                requests_from_limits(container);
            }
        }
        or_set(spec, "enableServiceLinks", true);
        if spec.get("priority").is_none() && text(spec, "priorityClassName").is_empty() {
            spec.insert("priority".to_owned(), 0.into());
        }
        or_set(spec, "preemptionPolicy", "PreemptLowerPriority");
        or_set(spec, "serviceAccountName", "default");
        let account = spec.get("serviceAccountName").cloned().unwrap_or_default();
        or_set(spec, "serviceAccount", account);
        default_tolerations(spec);
    }
    if let Some(status) = map_at(object, "status") {
        or_set(status, "phase", "Pending");
    }
    let class = quality(object);
    if let Some(status) = map_in(object, "status") {
        or_set(status, "qosClass", class);
    }
}

/// What the DefaultTolerationSeconds admission adds: five minutes on a node that is not ready or not reachable.
fn default_tolerations(spec: &mut Map<String, Value>) {
    let Some(tolerations) = spec
        .entry("tolerations")
        .or_insert_with(|| json!([]))
        .as_array_mut()
    else {
        return;
    };
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let covers = |one: &Value| {
            let own = one.get("key").and_then(Value::as_str).unwrap_or_default();
            let effect = one
                .get("effect")
                .and_then(Value::as_str)
                .unwrap_or_default();
            (own.is_empty() || own == key) && (effect.is_empty() || effect == "NoExecute")
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
        }
    }
}

/// Defaults of the template in a workload's spec.
pub fn template(spec: &mut Map<String, Value>) {
    if let Some(template) = map_in(spec, "template") {
        map_at(template, "metadata");
        if let Some(spec) = map_at(template, "spec") {
            pod_spec(spec);
        }
    }
}

fn pod_spec(spec: &mut Map<String, Value>) {
    or_set(spec, "dnsPolicy", "ClusterFirst");
    or_set(spec, "restartPolicy", "Always");
    or_set(spec, "schedulerName", "default-scheduler");
    or_set(spec, "securityContext", json!({}));
    or_set(spec, "terminationGracePeriodSeconds", 30);
    let account = spec.get("serviceAccountName").cloned();
    if let Some(account) = account {
        or_set(spec, "serviceAccount", account);
    } else if let Some(account) = spec.get("serviceAccount").cloned() {
        or_set(spec, "serviceAccountName", account);
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for one in maps_in(spec, field) {
            container(one);
        }
    }
    for one in maps_in(spec, "volumes") {
        volume(one);
    }
}

fn container(container: &mut Map<String, Value>) {
    let policy = if is_latest(text(container, "image")) {
        "Always"
    } else {
        "IfNotPresent"
    };
    or_set(container, "imagePullPolicy", policy);
    or_set(container, "resources", json!({}));
    or_set(container, "terminationMessagePath", "/dev/termination-log");
    or_set(container, "terminationMessagePolicy", "File");
    for port in maps_in(container, "ports") {
        or_set(port, "protocol", "TCP");
    }
    for variable in maps_in(container, "env") {
        if let Some(field) = map_in(variable, "valueFrom").and_then(|from| map_in(from, "fieldRef"))
        {
            or_set(field, "apiVersion", "v1");
        }
        if let Some(field) =
            map_in(variable, "valueFrom").and_then(|from| map_in(from, "resourceFieldRef"))
        {
            or_set(field, "divisor", "0");
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(one) = map_in(container, field) {
            probe(one);
        }
    }
    if let Some(lifecycle) = map_in(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(http) = map_in(lifecycle, hook).and_then(|hook| map_in(hook, "httpGet")) {
                http_get(http);
            }
        }
    }
}

fn probe(probe: &mut Map<String, Value>) {
    or_set(probe, "timeoutSeconds", 1);
    or_set(probe, "periodSeconds", 10);
    or_set(probe, "successThreshold", 1);
    or_set(probe, "failureThreshold", 3);
    if let Some(http) = map_in(probe, "httpGet") {
        http_get(http);
    }
    if let Some(grpc) = map_in(probe, "grpc") {
        or_set(grpc, "service", "");
    }
}

fn http_get(http: &mut Map<String, Value>) {
    or_set(http, "path", "/");
    or_set(http, "scheme", "HTTP");
}

fn volume(volume: &mut Map<String, Value>) {
    const MODE: i64 = 0o644;
    let sources = volume.keys().filter(|key| *key != "name").count();
    if sources == 0 {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for field in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = map_in(volume, field) {
            or_set(source, "defaultMode", MODE);
        }
    }
    if let Some(path) = map_in(volume, "hostPath") {
        or_set(path, "type", "");
    }
    let fields = |items: &mut Map<String, Value>| {
        for item in maps_in(items, "items") {
            if let Some(field) = map_in(item, "fieldRef") {
                or_set(field, "apiVersion", "v1");
            }
        }
    };
    if let Some(downward) = map_in(volume, "downwardAPI") {
        fields(downward);
    }
    if let Some(projected) = map_in(volume, "projected") {
        for source in maps_in(projected, "sources") {
            if let Some(downward) = map_in(source, "downwardAPI") {
                fields(downward);
            }
            if let Some(token) = map_in(source, "serviceAccountToken") {
                or_set(token, "expirationSeconds", 3600);
            }
        }
    }
}

/// Whether an image without a policy is pulled each time: its tag is `latest`, said or not, and it has no digest.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    }
}

fn requests_from_limits(container: &mut Map<String, Value>) {
    let Some(resources) = map_in(container, "resources") else {
        return;
    };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let Some(requests) = map_at(resources, "requests") else {
        return;
    };
    for (name, limit) in limits {
        or_set(requests, &name, limit);
    }
}

/// The pod's quality of service: `Guaranteed` when every container has limits for cpu and memory equal to its requests, `BestEffort` when none
/// has any, else `Burstable`.
fn quality(pod: &Map<String, Value>) -> &'static str {
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let mut guaranteed = true;
    let mut any = false;
    let spec = pod.get("spec");
    let containers = ["initContainers", "containers"]
        .into_iter()
        .filter_map(|field| spec?.get(field)?.as_array())
        .flatten();
    for container in containers {
        for name in COUNTED {
            let amount = |of: &str| {
                container
                    .pointer(&format!("/resources/{of}/{name}"))
                    .and_then(Value::as_str)
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
