//! Environments and arguments, case by case.

use serde_json::{Value, json};

use super::*;
use crate::config::Capacity;

fn container(spec: Value) -> Container {
    let mut container: Container = serde_json::from_value(spec).unwrap();
    container.name = "c".to_owned();
    container
}

fn pod(container: &Container) -> Pod {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "web-0", "namespace": "shop", "uid": "u1", "labels": { "app": "web", "a/b": "x y" } },
        "spec": { "nodeName": "n1", "serviceAccountName": "default" }
    }))
    .unwrap();
    pod.spec.as_mut().unwrap().containers = vec![container.clone()];
    pod
}

fn referred() -> Referred {
    let contents = |pairs: &[(&str, &[u8])]| {
        Arc::new(
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.to_vec()))
                .collect(),
        )
    };
    let of = |kind, name: &str| Reference {
        kind,
        name: name.to_owned(),
    };
    Referred::from([
        (
            of(Kind::ConfigMap, "settings"),
            contents(&[("COLOR", b"blue"), ("a=b", b"no"), ("raw", &[0xff])]),
        ),
        (of(Kind::Secret, "keys"), contents(&[("token", b"t0p")])),
    ])
}

fn check(spec: Value) -> Result<Vec<(String, String)>, String> {
    let container = container(spec);
    let pod = pod(&container);
    let ips = ["10.244.0.7".parse().unwrap()];
    let hosts = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
    let facts = Facts {
        pod: &pod,
        container: &container,
        pod_ips: &ips,
        host_ips: &hosts,
        capacity: Capacity {
            cpu_millis: 2000,
            memory_bytes: 1 << 30,
            pods: 1,
        },
    };
    let links = [("DB_SERVICE_HOST".to_owned(), "10.96.0.9".to_owned())];
    variables(&container, &facts, &referred(), &links).map_err(|error| error.to_string())
}

fn of(all: &[(String, String)], name: &str) -> Option<String> {
    all.iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.clone())
}

#[test]
fn values_expand_what_was_set_before_and_keep_what_is_unknown() {
    let all = check(json!({ "env": [
        { "name": "A", "value": "1" },
        { "name": "B", "value": "$(A)-$(C)-$$(A)-$(DB_SERVICE_HOST)-$A-$(" },
        { "name": "C", "value": "later" },
        { "name": "A", "value": "$(A)2" }
    ] }))
    .unwrap();
    assert_eq!(of(&all, "B").unwrap(), "1-$(C)-$(A)-10.96.0.9-$A-$(");
    assert_eq!(of(&all, "A").unwrap(), "12");
    assert_eq!(all.iter().filter(|(name, _)| name == "A").count(), 1);
    assert_eq!(of(&all, "DB_SERVICE_HOST").unwrap(), "10.96.0.9");
}

#[test]
fn objects_are_taken_whole_or_by_key() {
    let all = check(json!({
        "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "settings" } }, { "secretRef": { "name": "none", "optional": true } }],
        "env": [
            { "name": "T", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "token" } } },
            { "name": "O", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "none", "optional": true } } }
        ]
    }))
    .unwrap();
    assert_eq!(of(&all, "P_COLOR").unwrap(), "blue");
    assert_eq!(of(&all, "T").unwrap(), "t0p");
    assert_eq!(of(&all, "O"), None);
    assert_eq!(
        all.len(),
        3,
        "what cannot be a variable is left out: {all:?}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let key = |kind: &str, name: &str, key: &str| json!({ "env": [{ "name": "X", "valueFrom": { kind: { "name": name, "key": key } } }] });
    let cases = [
        (
            key("configMapKeyRef", "none", "k"),
            "configmap \"none\" not found",
        ),
        (
            key("secretKeyRef", "keys", "k"),
            "couldn't find key k in Secret shop/keys",
        ),
        (
            key("configMapKeyRef", "settings", "raw"),
            "key raw in ConfigMap \"settings\" is not UTF-8 text",
        ),
        (
            json!({ "envFrom": [{ "secretRef": { "name": "none" } }] }),
            "secret \"none\" not found",
        ),
        (
            json!({ "env": [{ "name": "X", "valueFrom": { "fieldRef": { "fieldPath": "spec.x" } } }] }),
            "unsupported fieldPath: spec.x",
        ),
    ];
    for (spec, message) in cases {
        assert_eq!(check(spec).unwrap_err(), message);
    }
}

#[test]
fn a_pod_knows_itself() {
    let field =
        |path: &str| json!({ "name": path, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let paths = [
        ("metadata.name", "web-0"),
        ("metadata.namespace", "shop"),
        ("metadata.labels['a/b']", "x y"),
        ("metadata.labels['none']", ""),
        ("spec.nodeName", "n1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.244.0.7"),
        ("status.hostIP", "192.0.2.1"),
        ("status.hostIPs", "192.0.2.1,192.0.2.2"),
    ];
    let env: Vec<Value> = paths.iter().map(|(path, _)| field(path)).collect();
    let all = check(json!({ "env": env })).unwrap();
    for (path, value) in paths {
        assert_eq!(of(&all, path).unwrap(), value, "{path}");
    }
}

#[test]
fn resources_are_told_in_units_of_the_divisor() {
    let resource = |resource: &str, divisor: &str| {
        let all = check(json!({
            "resources": { "limits": { "cpu": "250m" }, "requests": { "memory": "100Mi" } },
            "env": [{ "name": "R", "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } }]
        }));
        of(&all.unwrap(), "R").unwrap()
    };
    assert_eq!(
        resource("limits.cpu", "0"),
        "1",
        "rounded up to whole cores"
    );
    assert_eq!(resource("limits.cpu", "1m"), "250");
    assert_eq!(resource("requests.memory", "1Mi"), "100");
    assert_eq!(
        resource("limits.memory", "1Mi"),
        "1024",
        "the node's where there is no limit"
    );
    assert_eq!(resource("requests.cpu", "1m"), "0");
}

#[test]
fn arguments_come_from_the_spec_or_the_image() {
    let image = ["/app.wasm".to_owned()];
    let defaults = ["serve".to_owned()];
    let env = [("PORT".to_owned(), "80".to_owned())];
    let of = |spec: Value, entry: &[String]| arguments(&container(spec), entry, &defaults, &env);
    assert_eq!(of(json!({}), &image), ["/app.wasm", "serve"]);
    assert_eq!(of(json!({}), &[]), ["c", "serve"]);
    assert_eq!(
        of(json!({ "args": ["--port=$(PORT)", "$(X)"] }), &image),
        ["/app.wasm", "--port=80", "$(X)"]
    );
    assert_eq!(of(json!({ "command": ["run"] }), &image), ["run"]);
    assert_eq!(
        of(json!({ "command": ["run"], "args": ["a"] }), &image),
        ["run", "a"]
    );
}

#[test]
fn services_are_told_in_both_forms() {
    let service: k8s_openapi::api::core::v1::Service = serde_json::from_value(json!({
        "metadata": { "name": "my-db" },
        "spec": { "clusterIP": "10.96.0.9", "ports": [{ "name": "sql", "port": 5432 }, { "name": "udp-x", "port": 53, "protocol": "UDP" }] }
    }))
    .unwrap();
    let mut headless = service.clone();
    headless.spec.as_mut().unwrap().cluster_ip = Some("None".to_owned());
    let all = links::variables([&headless, &service]);
    let expected = [
        ("MY_DB_SERVICE_HOST", "10.96.0.9"),
        ("MY_DB_SERVICE_PORT", "5432"),
        ("MY_DB_SERVICE_PORT_SQL", "5432"),
        ("MY_DB_SERVICE_PORT_UDP_X", "53"),
        ("MY_DB_PORT", "tcp://10.96.0.9:5432"),
        ("MY_DB_PORT_5432_TCP", "tcp://10.96.0.9:5432"),
        ("MY_DB_PORT_5432_TCP_PROTO", "tcp"),
        ("MY_DB_PORT_5432_TCP_PORT", "5432"),
        ("MY_DB_PORT_5432_TCP_ADDR", "10.96.0.9"),
        ("MY_DB_PORT_53_UDP", "udp://10.96.0.9:53"),
    ];
    for (name, value) in expected {
        assert_eq!(of(&all, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(all.len(), 13);
}

#[test]
fn references_are_found_wherever_they_are() {
    let container = container(json!({
        "envFrom": [{ "configMapRef": { "name": "a" } }],
        "env": [{ "name": "X", "valueFrom": { "secretKeyRef": { "name": "b", "key": "k" } } }]
    }));
    let names: Vec<String> = references(&pod(&container))
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["a", "b"]);
}
