//! Pods come, change and go; what remains must be exactly what the pods that are left say.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn put(graph: &mut Graph, namespace: &str, name: &str, pod: &Value) {
    graph
        .apply(namespace, name, Some(pod.to_string().as_bytes()))
        .unwrap();
}

#[test]
fn every_way_to_refer_is_seen() {
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {
            "nodeName": "n1",
            "serviceAccountName": "account",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "volume-secret"}},
                {"name": "b", "configMap": {"name": "volume-map", "items": []}},
                {"name": "c", "projected": {"sources": [
                    {"secret": {"name": "projected-secret"}}, {"configMap": {"name": "projected-map"}},
                    {"serviceAccountToken": {"path": "token"}}, {"downwardAPI": {"items": []}},
                ]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
                {"name": "f", "emptyDir": {}},
            ],
            "containers": [{
                "name": "c", "image": "i",
                "env": [
                    {"name": "A", "value": "plain"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "k"}}},
                    {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "env-map", "key": "k"}}},
                    {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "envFrom": [{"prefix": "X", "secretRef": {"name": "from-secret"}}, {"configMapRef": {"name": "from-map"}}],
            }],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "init-secret"}}]}],
            "ephemeralContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "debug-map"}}}]}],
        },
        "status": {"phase": "Running"},
    });
    let mut graph = Graph::default();
    put(&mut graph, "ns", "p", &pod);
    let mut told = BTreeMap::<Referred, Vec<&str>>::new();
    for (kind, namespace, name) in graph.referring.keys() {
        assert_eq!(&**namespace, "ns");
        told.entry(*kind).or_default().push(name);
    }
    told.values_mut().for_each(|names| names.sort_unstable());
    assert_eq!(
        told[&Referred::Secret],
        [
            "env-secret",
            "from-secret",
            "init-secret",
            "projected-secret",
            "pull",
            "volume-secret"
        ]
    );
    assert_eq!(
        told[&Referred::ConfigMap],
        [
            "debug-map",
            "env-map",
            "from-map",
            "projected-map",
            "volume-map"
        ]
    );
    assert_eq!(told[&Referred::ServiceAccount], ["account"]);
    assert_eq!(told[&Referred::PersistentVolumeClaim], ["claim", "p-e"]);
    assert!(graph.refers("n1", Referred::Secret, "ns", "pull"));
    assert!(!graph.refers("n2", Referred::Secret, "ns", "pull"));
    assert!(!graph.refers("n1", Referred::Secret, "other", "pull"));
}

#[test]
fn pods_that_are_unbound_ended_or_unreadable_give_no_access() {
    let mut graph = Graph::default();
    let pod = |node: &str, phase: &str| json!({"spec": {"nodeName": node, "imagePullSecrets": [{"name": "s"}]}, "status": {"phase": phase}});
    put(
        &mut graph,
        "ns",
        "p",
        &json!({"spec": {"imagePullSecrets": [{"name": "s"}]}}),
    );
    assert!(graph.is_empty() && graph.referring.is_empty());
    put(&mut graph, "ns", "p", &pod("n1", "Pending"));
    assert!(graph.refers("n1", Referred::Secret, "ns", "s"));
    put(&mut graph, "ns", "p", &pod("n1", "Succeeded"));
    assert!(!graph.refers("n1", Referred::Secret, "ns", "s"));
    assert!(graph.is_bound("ns", "p", "n1"));
    for broken in [
        &b"{"[..],
        b"1",
        br#"{"spec": {"nodeName": 1}}"#,
        br#"{"spec": {"volumes": {}}}"#,
    ] {
        put(&mut graph, "ns", "p", &pod("n1", ""));
        assert!(graph.apply("ns", "p", Some(broken)).is_err());
        assert!(!graph.is_bound("ns", "p", "n1"));
        assert!(!graph.refers("n1", Referred::Secret, "ns", "s"));
    }
    // Escapes and nulls are JSON too.
    let odd = br#"{"spec":{"nodeName":"n\u0031","volumes":null,"containers":[{"env":null}],"serviceAccountName":null,"imagePullSecrets":[{"name":"s"}]},"status":{}}"#;
    graph.apply("ns", "p", Some(odd)).unwrap();
    assert!(graph.refers("n1", Referred::Secret, "ns", "s"));
}

proptest! {
    /// After any history the graph is the one built afresh from the pods that are left.
    #[test]
    fn history_leaves_no_trace(
        history in prop::collection::vec((0..3_usize, 0..3_usize, prop::option::of((0..3_usize, 0..4_usize, any::<bool>()))), 0..40)
    ) {
        let mut graph = Graph::default();
        let mut left = BTreeMap::new();
        for (namespace, name, pod) in history {
            let key = (format!("ns{namespace}"), format!("p{name}"));
            match pod {
                Some((node, secrets, ended)) => {
                    let secrets: Vec<Value> = (0..secrets).map(|n| json!({"name": format!("s{n}")})).collect();
                    let phase = if ended { "Failed" } else { "Running" };
                    let pod = json!({"spec": {"nodeName": format!("n{node}"), "imagePullSecrets": secrets}, "status": {"phase": phase}});
                    put(&mut graph, &key.0, &key.1, &pod);
                    left.insert(key, pod);
                }
                None => {
                    graph.apply(&key.0, &key.1, None).unwrap();
                    left.remove(&key);
                }
            }
        }
        let mut fresh = Graph::default();
        for ((namespace, name), pod) in &left {
            put(&mut fresh, namespace, name, pod);
        }
        prop_assert_eq!(graph.referring, fresh.referring);
        prop_assert_eq!(graph.pods.len(), left.len());
    }
}
