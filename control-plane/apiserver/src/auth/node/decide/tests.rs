//! The node authorizer as a table: node n1 has pod a/mine, node n2 has pod a/other.

use serde_json::json;

use super::*;
use crate::auth::user::{NODES, UserInfo};

fn graph() -> Graph {
    let mut graph = Graph::default();
    for (name, node) in [("mine", "n1"), ("other", "n2")] {
        let pod = json!({"spec": {
            "nodeName": node, "serviceAccountName": format!("{name}-account"),
            "volumes": [
                {"name": "s", "secret": {"secretName": format!("{name}-secret")}},
                {"name": "m", "configMap": {"name": format!("{name}-map")}},
                {"name": "c", "persistentVolumeClaim": {"claimName": format!("{name}-claim")}},
            ],
        }});
        graph
            .apply("a", name, Some(pod.to_string().as_bytes()))
            .unwrap();
    }
    graph
}

/// `verb group/resource[/sub] namespace name [selector]`, `-` for none.
fn may(request: &str) -> bool {
    let user = UserInfo::new("system:node:n1", [NODES]);
    let words: Vec<&str> = request.split(' ').collect();
    let parts: Vec<&str> = words[1].split('/').collect();
    let given = |index: usize| words.get(index).copied().filter(|word| *word != "-");
    let attributes = Attributes {
        user: &user,
        verb: words[0],
        target: Target::Resource(ResourceTarget {
            group: parts[0].trim_start_matches("core"),
            resource: parts[1],
            subresource: parts.get(2).copied(),
            namespace: given(2),
            name: given(3),
            field_selector: given(4),
        }),
    };
    decide(&graph(), "n1", &attributes) == Opinion::Allowed
}

#[test]
fn a_node_may_do_this() {
    for request in [
        "create core/nodes - -",
        "get core/nodes - n1",
        "watch core/nodes - n1 metadata.name=n1",
        "list core/nodes - -",
        "watch core/nodes - -",
        "list core/namespaces - -",
        "watch networking.k8s.io/networkpolicies - -",
        "update core/nodes - n1",
        "patch core/nodes/status - n1",
        "create coordination.k8s.io/leases kube-node-lease -",
        "update coordination.k8s.io/leases kube-node-lease n1",
        "list core/pods - - spec.nodeName=n1",
        "watch core/pods - - spec.nodeName=n1,status.phase!=Failed",
        "watch core/pods a - spec.nodeName==n1",
        "get core/pods a mine",
        "delete core/pods a mine",
        "update core/pods/status a mine",
        "patch core/pods/status a mine",
        // Nobody's pod: the write finds out that it is not there, or is refused by what it is.
        "patch core/pods/status b mine",
        "create core/pods/eviction a mine",
        "get core/secrets a mine-secret",
        "watch core/secrets a mine-secret metadata.name=mine-secret",
        "get core/configmaps a mine-map",
        "get core/serviceaccounts a mine-account",
        "get core/persistentvolumeclaims a mine-claim",
        "list core/services - -",
        "watch discovery.k8s.io/endpointslices - -",
        "create core/events a -",
        "patch events.k8s.io/events a e",
        "create node.coracle.dev/links - n1",
    ] {
        assert!(may(request), "{request}");
    }
}

#[test]
fn a_node_may_not_do_that() {
    for request in [
        "get core/nodes - n2",
        "get core/nodes/status - n2",
        "update networking.k8s.io/networkpolicies a p",
        "delete core/namespaces - a",
        "delete core/nodes - n1",
        "update core/nodes - n2",
        "patch core/nodes/status - n2",
        "get core/nodes/proxy - n1",
        "update coordination.k8s.io/leases kube-node-lease n2",
        "update coordination.k8s.io/leases kube-system n1",
        "create coordination.k8s.io/leases kube-system -",
        "list coordination.k8s.io/leases kube-node-lease -",
        "list core/pods - -",
        "list core/pods - - spec.nodeName!=n1",
        "list core/pods - - spec.nodeName=n2",
        "list core/pods - - spec.nodeName=n10",
        "list core/pods - - status.phase=Running",
        "list core/pods - - metadata.name=spec.nodeName=n1",
        "deletecollection core/pods a - spec.nodeName=n1",
        "create core/pods a -",
        "update core/pods a mine",
        "patch core/pods a mine",
        "get core/pods a other",
        "delete core/pods a other",
        "update core/pods/status a other",
        "get core/pods/status b mine",
        "create core/pods/eviction a other",
        "create core/pods/exec a mine",
        "create core/pods/binding a mine",
        "get core/secrets a other-secret",
        "get core/secrets b mine-secret",
        "list core/secrets a -",
        "list core/secrets - -",
        "update core/secrets a mine-secret",
        "delete core/configmaps a mine-map",
        "get core/configmaps a other-map",
        "get core/configmaps a mine-secret",
        "list core/serviceaccounts a mine-account",
        "get core/serviceaccounts a other-account",
        "create core/serviceaccounts/token a mine-account",
        "update core/persistentvolumeclaims a mine-claim",
        "update core/services a web",
        "get core/services/proxy a web",
        "get core/events a e",
        "delete core/events a e",
        "create node.coracle.dev/links - n2",
        "create node.coracle.dev/links - -",
        "get rbac.authorization.k8s.io/clusterroles - cluster-admin",
        "get apps/secrets a mine-secret",
        "impersonate core/users - jane",
    ] {
        assert!(!may(request), "{request}");
    }
}

#[test]
fn a_refusal_says_what_is_missing() {
    let user = UserInfo::new("system:node:n1", [NODES]);
    let attributes = Attributes {
        user: &user,
        verb: "get",
        target: Target::Resource(ResourceTarget {
            resource: "secrets",
            namespace: Some("a"),
            name: Some("other-secret"),
            ..ResourceTarget::default()
        }),
    };
    assert_eq!(
        decide(&graph(), "n1", &attributes),
        Opinion::None("no relationship found between node \"n1\" and this object".to_owned())
    );
    let path = Attributes {
        target: Target::Path("/metrics"),
        ..attributes
    };
    assert_eq!(decide(&graph(), "n1", &path), Opinion::None(String::new()));
}
