//! Defaults: what upstream adds, and that adding it twice adds nothing.

use serde_json::{Value, json};

use crate::registry::Registry;

fn defaulted(kind: &str, mut object: Value) -> Value {
    let registry = Registry::builtin();
    let row = registry.iter().find(|row| row.kind == kind).unwrap();
    (row.default)(&mut object);
    let once = object.clone();
    (row.default)(&mut object);
    assert_eq!(once, object, "defaults of {kind} are not idempotent");
    object
}

#[test]
fn a_minimal_pod_becomes_what_upstream_stores() {
    let pod = defaulted(
        "Pod",
        json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "a", "image": "hello:1.0", "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}},
         "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], "resources": {"limits": {"cpu": "1"}}}
    ], "volumes": [{"name": "e"}, {"name": "c", "configMap": {"name": "c"}}]}}),
    );
    insta::assert_json_snapshot!(pod);
}

#[test]
fn a_minimal_deployment_becomes_what_upstream_stores() {
    let deployment = defaulted(
        "Deployment",
        json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "hello"}]}}
        }}),
    );
    insta::assert_json_snapshot!(deployment);
}

#[test]
fn a_service_gets_protocols_target_ports_and_policies() {
    let service = defaulted(
        "Service",
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "targetPort": "web"}]}}),
    );
    insta::assert_json_snapshot!(service);
}

#[test]
fn a_job_is_selected_by_its_uid() {
    let job = defaulted(
        "Job",
        json!({"metadata": {"name": "j", "uid": "u-1"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b:1"}]}}}}),
    );
    insta::assert_json_snapshot!(job);
}

#[test]
fn images_without_a_fixed_tag_are_always_pulled() {
    for (image, policy) in [
        ("hello", "Always"),
        ("hello:latest", "Always"),
        ("host:5000/hello", "Always"),
        ("hello:1.0", "IfNotPresent"),
        ("hello@sha256:0000", "IfNotPresent"),
    ] {
        let pod = defaulted(
            "Pod",
            json!({"spec": {"containers": [{"name": "a", "image": image}]}}),
        );
        assert_eq!(
            pod["spec"]["containers"][0]["imagePullPolicy"], policy,
            "{image}"
        );
    }
}

#[test]
fn quality_of_service_follows_requests_and_limits() {
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (
            json!({"limits": {"cpu": "1", "memory": "1Gi"}}),
            "Guaranteed",
        ),
        (
            json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
            "Burstable",
        ),
    ] {
        let pod = defaulted(
            "Pod",
            json!({"spec": {"containers": [{"name": "a", "image": "b:1", "resources": resources}]}}),
        );
        assert_eq!(pod["status"]["qosClass"], class);
    }
}

#[test]
fn string_data_of_a_secret_becomes_data() {
    let secret = defaulted(
        "Secret",
        json!({"data": {"a": "eA=="}, "stringData": {"b": "hello", "c": "", "d": "hi"}}),
    );
    assert_eq!(
        secret,
        json!({"type": "Opaque", "data": {"a": "eA==", "b": "aGVsbG8=", "c": "", "d": "aGk="}})
    );
}
