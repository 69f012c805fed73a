//! What node n1 may and may not write.

use serde_json::json;

use super::*;

fn written(
    resource: &str,
    key: (Option<&str>, &str),
    new: &Value,
    old: Option<&Value>,
) -> Result<(), String> {
    let key = match key {
        (Some(namespace), name) => ObjectKey::namespaced(namespace, name),
        (None, name) => ObjectKey::cluster(name),
    };
    let group = if resource == "leases" {
        "coordination.k8s.io"
    } else {
        ""
    };
    check(
        "n1",
        &Written {
            group,
            resource,
            key: &key,
            new,
            old,
        },
    )
}

#[test]
fn a_node_writes_its_own_node_only() {
    let node = json!({"metadata": {"labels": {"kubernetes.io/hostname": "n1", "example.org/rack": "7"}}, "spec": {}});
    assert_eq!(written("nodes", (None, "n1"), &node, None), Ok(()));
    assert_eq!(
        written("nodes", (None, "n2"), &node, None),
        Err(r#"node "n1" is not allowed to modify node "n2""#.to_owned())
    );
}

#[test]
fn a_node_registers_with_taints_but_does_not_change_them() {
    let tainted = json!({"spec": {"taints": [{"key": "edge", "effect": "NoSchedule"}]}});
    let clean = json!({"spec": {"taints": []}});
    let none = json!({"spec": {}, "status": {"phase": "x"}});
    assert_eq!(written("nodes", (None, "n1"), &tainted, None), Ok(()));
    assert_eq!(written("nodes", (None, "n1"), &none, Some(&clean)), Ok(()));
    for (new, old) in [(&clean, &tainted), (&tainted, &none), (&none, &tainted)] {
        let told = written("nodes", (None, "n1"), new, Some(old)).unwrap_err();
        assert_eq!(told, r#"node "n1" is not allowed to modify taints"#);
    }
    let owned = json!({"metadata": {"ownerReferences": [{"name": "x"}]}});
    assert!(written("nodes", (None, "n1"), &owned, Some(&none)).is_err());
}

#[test]
fn labels_that_draw_pods_or_trust_are_not_the_nodes_own() {
    let labelled = |label: &str| json!({"metadata": {"labels": {label: "x"}}});
    let plain = json!({});
    for (label, allowed) in [
        ("rack", true),
        ("example.org/rack", true),
        ("notkubernetes.io/x", true),
        ("topology.kubernetes.io/zone", true),
        ("node.kubernetes.io/anything", true),
        ("x.node.kubernetes.io/anything", true),
        ("node-restriction.kubernetes.io/pci", false),
        ("node-role.kubernetes.io/control-plane", false),
        ("kubernetes.io/anything", false),
        ("x.k8s.io/y", false),
    ] {
        for (new, old) in [
            (labelled(label), None),
            (labelled(label), Some(&plain)),
            (plain.clone(), Some(&labelled(label))),
        ] {
            assert_eq!(
                written("nodes", (None, "n1"), &new, old).is_ok(),
                allowed,
                "{label}"
            );
        }
        // What an administrator has set stays.
        assert_eq!(
            written(
                "nodes",
                (None, "n1"),
                &labelled(label),
                Some(&labelled(label))
            ),
            Ok(())
        );
    }
    let two = json!({"metadata": {"labels": {"k8s.io/b": "x", "k8s.io/a": "x"}}});
    let told = written("nodes", (None, "n1"), &two, None).unwrap_err();
    assert_eq!(
        told,
        r#"node "n1" is not allowed to modify labels: k8s.io/a, k8s.io/b"#
    );
}

#[test]
fn a_node_writes_its_own_lease_only() {
    let lease = json!({});
    assert_eq!(
        written("leases", (Some("kube-node-lease"), "n1"), &lease, None),
        Ok(())
    );
    assert!(written("leases", (Some("kube-node-lease"), "n2"), &lease, None).is_err());
    assert!(written("leases", (Some("kube-system"), "n1"), &lease, None).is_err());
    // A Lease is how leaders are elected: n1 must not take the scheduler's.
    assert!(
        written(
            "leases",
            (Some("kube-system"), "kube-scheduler"),
            &lease,
            None
        )
        .is_err()
    );
}

#[test]
fn a_node_writes_the_status_of_its_pods_and_nothing_else_of_them() {
    let pod = |node: &str, label: &str, phase: &str| json!({"metadata": {"labels": {"app": label}}, "spec": {"nodeName": node}, "status": {"phase": phase}});
    let old = pod("n1", "web", "Pending");
    let key = (Some("a"), "p");
    assert_eq!(
        written("pods", key, &pod("n1", "web", "Running"), Some(&old)),
        Ok(())
    );
    assert!(written("pods", key, &pod("n1", "other", "Running"), Some(&old)).is_err());
    assert!(written("pods", key, &pod("n2", "web", "Running"), Some(&old)).is_err());
    assert!(written("pods", key, &old, Some(&pod("n2", "web", "Pending"))).is_err());
    assert!(written("pods", key, &old, None).is_err());
    assert_eq!(written("events", key, &json!({}), None), Ok(()));
}
