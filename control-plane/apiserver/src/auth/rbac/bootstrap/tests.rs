//! What a cluster begins with, and how it is brought up to date.

use coracle_store::MemoryStorage;

use super::*;
use crate::auth::{
    attributes::{Attributes, ResourceTarget, Target},
    rbac::policy::{Kind, Policy, Verdict},
    user::UserInfo,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_893_456_000).unwrap()
}

fn policy() -> Policy {
    let mut policy = Policy::default();
    for (key, object) in objects() {
        let mut parts = key.rsplit('/');
        let name = parts.next().unwrap();
        let kind = Kind::of(parts.next().unwrap()).unwrap();
        policy
            .apply(kind, None, name, Some(object.to_string().as_bytes()))
            .unwrap();
    }
    // Ann, Ed and Vi administrate, edit and view namespace a.
    for (name, role) in [("ann", "admin"), ("ed", "edit"), ("vi", "view")] {
        let binding = json!({"subjects": [{"kind": "User", "name": name}], "roleRef": {"kind": "ClusterRole", "name": role}});
        let bytes = binding.to_string();
        policy
            .apply(Kind::RoleBinding, Some("a"), name, Some(bytes.as_bytes()))
            .unwrap();
    }
    policy
}

/// `verb group/resource[/sub] [namespace]` or `verb /path`.
fn may(policy: &Policy, user: &UserInfo, request: &str) -> bool {
    let words: Vec<&str> = request.split(' ').collect();
    let target = if words[1].starts_with('/') {
        Target::Path(words[1])
    } else {
        let parts: Vec<&str> = words[1].split('/').collect();
        Target::Resource(ResourceTarget {
            group: parts[0].trim_start_matches("core"),
            resource: parts[1],
            subresource: parts.get(2).copied(),
            namespace: words.get(2).copied(),
            name: Some("x"),
            ..ResourceTarget::default()
        })
    };
    let attributes = Attributes {
        user,
        verb: words[0],
        target,
    };
    policy.evaluate(&attributes) == Verdict::Allowed
}

#[test]
fn the_roles_reach_as_far_as_their_names_say() {
    let policy = policy();
    let table = [
        (
            "ann",
            "create rbac.authorization.k8s.io/rolebindings a",
            true,
        ),
        ("ann", "get core/secrets a", true),
        ("ann", "get core/secrets b", false),
        ("ann", "update core/resourcequotas a", false),
        ("ann", "delete core/namespaces a", false),
        (
            "ann",
            "create rbac.authorization.k8s.io/clusterroles",
            false,
        ),
        ("ed", "create apps/deployments a", true),
        ("ed", "patch apps/deployments/scale a", true),
        ("ed", "update apps/deployments/status a", false),
        ("ed", "create core/pods/exec a", true),
        ("ed", "create rbac.authorization.k8s.io/roles a", false),
        ("ed", "create apps/deployments b", false),
        ("vi", "list core/pods a", true),
        ("vi", "get core/pods/log a", true),
        ("vi", "get core/secrets a", false),
        ("vi", "create core/pods a", false),
        ("vi", "get rbac.authorization.k8s.io/roles a", false),
        ("vi", "get core/nodes", false),
        (
            "joe",
            "create authorization.k8s.io/selfsubjectaccessreviews",
            true,
        ),
        ("joe", "get /version", true),
        ("joe", "get /apis/apps/v1", true),
        ("joe", "get /metrics", false),
        ("joe", "list core/pods a", false),
        ("joe", "get /v2/hello/tags/list", false),
        ("system:kube-scheduler", "create core/pods/binding a", true),
        ("system:kube-scheduler", "list core/pods", true),
        ("system:kube-scheduler", "get core/secrets a", false),
        ("system:kube-scheduler", "create core/pods a", false),
        ("system:kube-controller-manager", "create core/pods a", true),
        (
            "system:kube-controller-manager",
            "update apps/deployments/status a",
            true,
        ),
        (
            "system:kube-controller-manager",
            "delete example.org/things a",
            true,
        ),
        (
            "system:kube-controller-manager",
            "create rbac.authorization.k8s.io/clusterrolebindings",
            false,
        ),
        (
            "system:kube-controller-manager",
            "create core/pods/exec a",
            false,
        ),
    ];
    for (name, request, expected) in table {
        let user = UserInfo::new::<&str>(name, []);
        assert_eq!(may(&policy, &user, request), expected, "{name} {request}");
    }
    let node = UserInfo::new("system:node:n1", [crate::auth::user::NODES]);
    assert!(may(&policy, &node, "get /v2/hello/blobs/sha256:00"));
    assert!(!may(&policy, &node, "put /v2/hello/manifests/1.0"));
    assert!(!may(&policy, &node, "list core/pods"));
}

/// Update and escalate by wildcard would make the controllers' user an administrator.
#[test]
fn nobody_but_masters_may_escalate() {
    let policy = policy();
    for name in [
        "ann",
        "ed",
        "vi",
        "joe",
        "system:kube-scheduler",
        "system:kube-controller-manager",
    ] {
        let user = UserInfo::new::<&str>(name, []);
        for verb in ["escalate", "bind", "impersonate"] {
            for resource in ["roles", "clusterroles"] {
                assert!(
                    !may(&policy, &user, &format!("{verb} {GROUP}/{resource} a")),
                    "{name} {verb}"
                );
            }
        }
        assert!(!may(&policy, &user, "impersonate core/users"), "{name}");
    }
}

#[test]
fn an_old_version_gets_what_is_missing_and_keeps_what_is_added() {
    let wanted = &objects()[&key("clusterroles", "view")];
    assert_eq!(reconcile(wanted, wanted), None);
    let mut stored = wanted.clone();
    stored["rules"] =
        json!([{"verbs": ["get"], "apiGroups": ["example.org"], "resources": ["things"]}]);
    stored["metadata"]["labels"] = json!({"mine": "yes"});
    let next = reconcile(&stored, wanted).unwrap();
    assert_eq!(next["rules"][0]["apiGroups"][0], "example.org");
    assert_eq!(next["metadata"]["labels"]["mine"], "yes");
    assert_eq!(
        next["metadata"]["labels"]["kubernetes.io/bootstrapping"],
        "rbac-defaults"
    );
    assert_eq!(reconcile(&next, wanted), None);
    stored["metadata"]["annotations"][AUTO_UPDATE] = json!("false");
    assert_eq!(reconcile(&stored, wanted), None);
    stored["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("annotations");
    assert!(reconcile(&stored, wanted).is_some());
}

#[test]
fn a_binding_gets_its_subjects_back_and_its_role() {
    let wanted = &objects()[&key("clusterrolebindings", "cluster-admin")];
    let mut stored = wanted.clone();
    stored["subjects"] = json!([{"kind": "User", "name": "ann", "apiGroup": GROUP}]);
    let next = reconcile(&stored, wanted).unwrap();
    assert_eq!(next["subjects"].as_array().unwrap().len(), 2);
    stored["subjects"] = Value::Null;
    assert_eq!(
        reconcile(&stored, wanted).unwrap()["subjects"],
        wanted["subjects"]
    );
    stored["roleRef"]["name"] = json!("view");
    assert_eq!(
        reconcile(&stored, wanted).unwrap()["roleRef"],
        wanted["roleRef"]
    );
}

#[tokio::test]
async fn a_second_start_writes_nothing() {
    let store = MemoryStorage::new();
    let mut n = 0;
    let mut uid = || {
        n += 1;
        format!("uid-{n}")
    };
    let written = ensure(&store, now(), &mut uid).await.unwrap();
    assert_eq!(written, objects().len());
    assert_eq!(ensure(&store, now(), &mut uid).await.unwrap(), 0);
    let record = store
        .get(&key("clusterroles", "admin"))
        .await
        .unwrap()
        .unwrap();
    let object: Value = serde_json::from_slice(&record.value).unwrap();
    assert_eq!(
        object["metadata"]["creationTimestamp"],
        "2030-01-01T00:00:00Z"
    );
    assert!(
        object["metadata"]["uid"]
            .as_str()
            .unwrap()
            .starts_with("uid-")
    );
    store
        .commit(vec![Op {
            key: key("clusterroles", "admin"),
            expect: coracle_store::Expect::Exists,
            change: coracle_store::Change::Delete,
            durability: coracle_store::Durability::Durable,
        }])
        .await
        .unwrap();
    assert_eq!(ensure(&store, now(), &mut uid).await.unwrap(), 1);
}
