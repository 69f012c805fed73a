//! What decisions come out as, and what they never do.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn node(name: &str, cpu: &str, spec: Value) -> Arc<Node> {
    let node = json!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } }, "spec": spec,
        "status": { "allocatable": { "cpu": cpu, "memory": "1Gi", "pods": "10" } } });
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(uid: &str, cpu: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({ "metadata": { "name": uid, "uid": uid, "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true }] },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] } });
    for (key, value) in more.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn three() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node("cordoned", "8", json!({ "unschedulable": true })));
    snapshot.put_node(node("small", "1", json!({})));
    let taints = json!({ "taints": [{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }] });
    snapshot.put_node(node("tainted", "8", taints));
    snapshot
}

#[test]
fn nobody_fits_and_everybody_says_why() {
    let refused = assign(&pod("p", "2", json!({})), &three(), 0).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were unschedulable."
    );
    let nowhere = assign(&pod("p", "2", json!({})), &Snapshot::default(), 0).unwrap_err();
    assert_eq!(nowhere.to_string(), "no nodes available to schedule pods");
}

#[test]
fn tolerations_selectors_and_names_lead_to_their_nodes() {
    let tolerant = json!({ "tolerations": [{ "key": "gpu", "operator": "Exists" }] });
    assert_eq!(
        assign(&pod("p", "2", tolerant), &three(), 0).unwrap(),
        "tainted"
    );
    let selects = json!({ "nodeSelector": { "kubernetes.io/hostname": "small" } });
    assert_eq!(
        assign(&pod("p", "1", selects), &three(), 0).unwrap(),
        "small"
    );
    let elsewhere = json!({ "nodeSelector": { "kubernetes.io/hostname": "moon" } });
    let refused = assign(&pod("p", "1", elsewhere), &three(), 0).unwrap_err();
    assert!(
        refused
            .reasons
            .contains_key("node(s) didn't match Pod's node affinity/selector")
    );
}

#[test]
fn ports_of_a_node_are_given_once() {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node("n", "8", json!({})));
    let with = |uid: &str, number: i32| {
        pod(
            uid,
            "1m",
            json!({ "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": number }] }] }),
        )
    };
    snapshot.put_pod("n", with("a", 8080));
    let refused = assign(&with("b", 8080), &snapshot, 0).unwrap_err();
    assert!(refused.to_string().contains("didn't have free ports"));
    assert_eq!(assign(&with("c", 8081), &snapshot, 0).unwrap(), "n");
}

#[test]
fn what_a_pod_had_is_free_when_it_is_gone() {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node("n", "1", json!({})));
    snapshot.put_pod("n", pod("a", "800m", json!({})));
    assert!(assign(&pod("b", "800m", json!({})), &snapshot, 0).is_err());
    assert!(snapshot.remove_pod("a"));
    assert!(!snapshot.remove_pod("a"));
    assert_eq!(
        assign(&pod("b", "800m", json!({})), &snapshot, 0).unwrap(),
        "n"
    );
}

proptest! {
    #[test]
    fn nodes_are_never_given_more_than_they_have_and_siblings_spread(
        requests in prop::collection::vec(1_u32..400, 1..60),
        nodes in 1_usize..6,
        chance in any::<usize>(),
    ) {
        let mut snapshot = Snapshot::default();
        for n in 0..nodes {
            snapshot.put_node(node(&format!("n{n}"), "1", json!({})));
        }
        for (n, request) in requests.iter().enumerate() {
            let pod = pod(&format!("p{n}"), &format!("{request}m"), json!({}));
            match assign(&pod, &snapshot, chance) {
                Ok(place) => snapshot.put_pod(&place, pod),
                Err(refused) => {
                    prop_assert_eq!(refused.nodes, nodes);
                    for (_, state) in snapshot.nodes() {
                        let is_full = state.requested.get("cpu") + i64::from(*request) > 1000 || state.pods.len() >= 10;
                        prop_assert!(is_full, "a node had room");
                    }
                }
            }
        }
        for (_, state) in snapshot.nodes() {
            prop_assert!(state.requested.get("cpu") <= 1000);
            prop_assert!(state.pods.len() <= 10);
        }
    }
}
