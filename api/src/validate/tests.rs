//! What is refused, with the words users know, on objects that are right but for one thing.

use serde_json::{Value, json};

use crate::registry::Registry;

fn complaints(kind: &str, mut object: Value) -> Vec<String> {
    let registry = Registry::builtin();
    let row = registry.iter().find(|row| row.kind == kind).unwrap();
    (row.default)(&mut object);
    (row.validate)(&object)
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// `object` with the value at a JSON pointer set.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        Value::Object(map) => {
            map.insert(key.to_owned(), value);
        }
        _ => panic!("{pointer}"),
    }
    object
}

fn pod() -> Value {
    json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {
        "containers": [{"name": "a", "image": "a:1", "ports": [{"name": "http", "containerPort": 80}]}], "volumes": []
    }})
}

#[test]
fn a_good_pod_has_nothing_wrong() {
    assert_eq!(complaints("Pod", pod()), Vec::<String>::new());
}

#[test]
fn each_fault_of_a_pod_is_told_by_path() {
    for (pointer, value, told) in [
        (
            "/spec/containers",
            json!([]),
            "spec.containers: Required value",
        ),
        (
            "/spec/containers/0/image",
            json!(""),
            "spec.containers[0].image: Required value",
        ),
        (
            "/spec/restartPolicy",
            json!("Sometimes"),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (
            "/spec/containers/0/ports/0/containerPort",
            json!(0),
            "spec.containers[0].ports[0].containerPort: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            "/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/x"}]),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "/spec/containers/0/resources",
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            "spec.containers[0].resources.requests[cpu]: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            "/spec/volumes",
            json!([{"name": "h", "hostPath": {"path": "/"}}]),
            "spec.volumes[0].hostPath: Forbidden: volumes of this type are not available to WebAssembly modules here; available: configMap, downwardAPI, emptyDir, projected, secret",
        ),
        (
            "/spec/hostNetwork",
            json!(true),
            "spec.hostNetwork: Forbidden: a module never reaches the host's network; use a Service of type NodePort",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"privileged": true}),
            "spec.containers[0].securityContext.privileged: Forbidden: a module has no privileges to raise",
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({"exec": {"command": []}}),
            "spec.containers[0].livenessProbe.exec.command: Required value",
        ),
    ] {
        assert_eq!(
            complaints("Pod", with(pod(), pointer, value)),
            [told],
            "{pointer}"
        );
    }
}

#[test]
fn containers_have_names_of_their_own() {
    let twice = json!([{"name": "a", "image": "a:1"}, {"name": "a", "image": "b:1"}]);
    assert_eq!(
        complaints("Pod", with(pod(), "/spec/containers", twice)),
        ["spec.containers[1].name: Duplicate value: \"a\""]
    );
}

fn deployment() -> Value {
    json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    }})
}

#[test]
fn a_deployment_selects_its_template_and_restarts_always() {
    assert_eq!(complaints("Deployment", deployment()), Vec::<String>::new());
    let other = with(
        deployment(),
        "/spec/template/metadata/labels",
        json!({"app": "b"}),
    );
    assert_eq!(
        complaints("Deployment", other),
        [
            "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"
        ]
    );
    let never = with(
        deployment(),
        "/spec/template/spec/restartPolicy",
        json!("Never"),
    );
    assert_eq!(
        complaints("Deployment", never),
        [
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""
        ]
    );
    let stuck = with(
        deployment(),
        "/spec/strategy",
        json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
    );
    assert_eq!(
        complaints("Deployment", stuck),
        [
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"
        ]
    );
}

#[test]
fn immutable_fields_stay() {
    let registry = Registry::builtin();
    let row = |kind: &str| registry.iter().find(|row| row.kind == kind).unwrap();
    let told = |kind: &str, new: Value, old: Value| {
        (row(kind).validate_update)(&new, &old)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let moved = with(
        deployment(),
        "/spec/selector",
        json!({"matchLabels": {"app": "b"}}),
    );
    assert_eq!(
        told("Deployment", moved, deployment()),
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"]
    );
    let image = with(pod(), "/spec/containers/0/image", json!("a:2"));
    assert_eq!(told("Pod", image, pod()), Vec::<String>::new());
    let port = with(pod(), "/spec/containers/0/ports", json!([]));
    assert!(
        told("Pod", port, pod())[0]
            .starts_with("spec: Forbidden: pod updates may not change fields other than")
    );
    let service = |ip: &str| json!({"spec": {"type": "ClusterIP", "clusterIP": ip}});
    assert_eq!(
        told("Service", service("10.96.0.2"), service("10.96.0.1")),
        ["spec.clusterIP: Invalid value: \"10.96.0.2\": field is immutable"]
    );
    let frozen = json!({"immutable": true, "data": {"a": "1"}});
    assert_eq!(
        told(
            "ConfigMap",
            json!({"immutable": true, "data": {"a": "2"}}),
            frozen
        ),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
}

#[test]
fn services_name_several_ports_and_claim_what_they_hold() {
    let service = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
        "ports": [{"port": 80, "nodePort": 30080}, {"port": 81}]}});
    assert_eq!(
        complaints("Service", service.clone()),
        [
            "spec.ports[0].name: Required value",
            "spec.ports[1].name: Required value"
        ]
    );
    let registry = Registry::builtin();
    let row = registry.get("", "v1", "services").unwrap();
    let mut defaulted = service;
    (row.default)(&mut defaulted);
    assert_eq!(
        (row.claims)(&defaulted),
        ["ip/10.96.0.9", "nodeport/tcp/30080"]
    );
}
