//! Roles and bindings put together.

use serde_json::{Value, json};

use super::*;
use crate::auth::attributes::ResourceTarget;

struct World(Policy);

impl World {
    fn put(&mut self, kind: Kind, namespace: Option<&str>, name: &str, object: &Value) {
        self.0
            .apply(kind, namespace, name, Some(object.to_string().as_bytes()))
            .unwrap();
    }

    fn may(&self, user: &UserInfo, verb: &str, namespace: Option<&str>) -> Verdict {
        self.0.evaluate(&Attributes {
            user,
            verb,
            target: Target::Resource(ResourceTarget {
                resource: "pods",
                namespace,
                ..ResourceTarget::default()
            }),
        })
    }
}

fn reader() -> Value {
    json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, {"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]})
}

fn binding(subject: &Value, role_kind: &str, role: &str) -> Value {
    json!({"subjects": [subject], "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role}})
}

fn world() -> World {
    let mut world = World(Policy::default());
    world.put(Kind::ClusterRole, None, "reader", &reader());
    world.put(Kind::Role, Some("a"), "reader", &reader());
    world
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo::new(name, groups.iter().copied())
}

fn no_rule() -> Verdict {
    Verdict::NoRule(String::new())
}

#[test]
fn a_cluster_role_binding_reaches_everywhere_a_role_binding_its_namespace() {
    let mut world = world();
    let jane = user("jane", &[]);
    assert_eq!(world.may(&jane, "get", Some("a")), no_rule());
    let subject = json!({"kind": "User", "name": "jane"});
    world.put(
        Kind::RoleBinding,
        Some("a"),
        "b",
        &binding(&subject, "ClusterRole", "reader"),
    );
    assert_eq!(world.may(&jane, "get", Some("a")), Verdict::Allowed);
    assert_eq!(world.may(&jane, "get", Some("b")), no_rule());
    assert_eq!(world.may(&jane, "get", None), no_rule());
    assert_eq!(world.may(&jane, "list", Some("a")), no_rule());
    let path = Attributes {
        user: &jane,
        verb: "get",
        target: Target::Path("/metrics"),
    };
    assert_eq!(world.0.evaluate(&path), no_rule());
    world.put(
        Kind::ClusterRoleBinding,
        None,
        "b",
        &binding(&subject, "ClusterRole", "reader"),
    );
    assert_eq!(world.may(&jane, "get", Some("b")), Verdict::Allowed);
    assert_eq!(world.may(&jane, "get", None), Verdict::Allowed);
    assert_eq!(world.0.evaluate(&path), Verdict::Allowed);
    assert_eq!(world.0.rules_of(&jane, Some("a")).len(), 4);
    assert_eq!(world.0.rules_of(&jane, None).len(), 2);
}

#[test]
fn groups_and_service_accounts_are_subjects() {
    let mut world = world();
    let group = json!({"kind": "Group", "name": "dev"});
    world.put(
        Kind::RoleBinding,
        Some("a"),
        "g",
        &binding(&group, "Role", "reader"),
    );
    assert_eq!(
        world.may(&user("x", &["ops", "dev"]), "get", Some("a")),
        Verdict::Allowed
    );
    assert_eq!(world.may(&user("dev", &[]), "get", Some("a")), no_rule());
    let account = json!({"kind": "ServiceAccount", "name": "bot", "namespace": "b"});
    world.put(
        Kind::RoleBinding,
        Some("a"),
        "s",
        &binding(&account, "Role", "reader"),
    );
    let local = json!({"kind": "ServiceAccount", "name": "bot"});
    world.put(
        Kind::RoleBinding,
        Some("a"),
        "l",
        &binding(&local, "Role", "reader"),
    );
    for (name, expected) in [
        ("system:serviceaccount:b:bot", Verdict::Allowed),
        ("system:serviceaccount:a:bot", Verdict::Allowed),
        ("system:serviceaccount:c:bot", no_rule()),
        ("bot", no_rule()),
    ] {
        assert_eq!(
            world.may(&user(name, &[]), "get", Some("a")),
            expected,
            "{name}"
        );
    }
}

#[test]
fn what_is_deleted_or_replaced_grants_nothing_more() {
    let mut world = world();
    let jane = user("jane", &["dev"]);
    let subject = json!({"kind": "User", "name": "jane"});
    world.put(
        Kind::RoleBinding,
        Some("a"),
        "b",
        &binding(&subject, "Role", "reader"),
    );
    let other = json!({"kind": "User", "name": "joe"});
    world.put(
        Kind::RoleBinding,
        Some("a"),
        "b",
        &binding(&other, "Role", "reader"),
    );
    assert_eq!(world.may(&jane, "get", Some("a")), no_rule());
    assert_eq!(
        world.may(&user("joe", &[]), "get", Some("a")),
        Verdict::Allowed
    );
    world.put(Kind::Role, Some("a"), "reader", &json!({"rules": null}));
    assert_eq!(world.may(&user("joe", &[]), "get", Some("a")), no_rule());
    world
        .0
        .apply(Kind::Role, Some("a"), "reader", None)
        .unwrap();
    let verdict = world.may(&user("joe", &[]), "get", Some("a"));
    let told = r#"RBAC: role.rbac.authorization.k8s.io "reader" not found"#;
    assert_eq!(verdict, Verdict::NoRule(told.to_owned()));
    world
        .0
        .apply(Kind::RoleBinding, Some("a"), "b", None)
        .unwrap();
    assert_eq!(world.may(&user("joe", &[]), "get", Some("a")), no_rule());
    assert!(world.0.by_user.is_empty() && world.0.bindings.is_empty());
}

#[test]
fn what_cannot_be_read_grants_nothing() {
    let mut world = world();
    let subject = json!({"kind": "User", "name": "jane"});
    world.put(
        Kind::RoleBinding,
        Some("a"),
        "b",
        &binding(&subject, "Role", "reader"),
    );
    for broken in [&b"{"[..], b"{}", b"[]", br#"{"roleRef": 1}"#] {
        assert!(
            world
                .0
                .apply(Kind::RoleBinding, Some("a"), "b", Some(broken))
                .is_err()
        );
        assert_eq!(world.may(&user("jane", &[]), "get", Some("a")), no_rule());
    }
    let odd = binding(
        &json!({"kind": "Robot", "name": "jane"}),
        "Oracle",
        "reader",
    );
    world.put(Kind::ClusterRoleBinding, None, "b", &odd);
    assert_eq!(world.may(&user("jane", &[]), "get", Some("a")), no_rule());
}
