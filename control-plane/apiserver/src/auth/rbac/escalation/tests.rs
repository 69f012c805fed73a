//! Who may grant what to whom.

use serde_json::json;

use super::*;

fn role(rules: &Value) -> Value {
    json!({"metadata": {"name": "r"}, "rules": rules})
}

fn pods(verbs: &[&str]) -> Value {
    json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}])
}

fn binding(kind: &str, name: &str) -> Value {
    json!({"subjects": [{"kind": "User", "name": "joe"}], "roleRef": {"kind": kind, "name": name}})
}

/// Jane may get and list pods in namespace a.
fn policy() -> Policy {
    let mut policy = Policy::default();
    let mut put = |kind, namespace, name, object: &Value| {
        let bytes = object.to_string();
        policy
            .apply(kind, namespace, name, Some(bytes.as_bytes()))
            .unwrap();
    };
    put(
        Kind::ClusterRole,
        None,
        "reader",
        &role(&pods(&["get", "list"])),
    );
    put(Kind::ClusterRole, None, "writer", &role(&pods(&["*"])));
    let jane = json!({"subjects": [{"kind": "User", "name": "jane"}], "roleRef": {"kind": "ClusterRole", "name": "reader"}});
    put(Kind::RoleBinding, Some("a"), "jane", &jane);
    policy
}

fn checked(
    user: &UserInfo,
    kind: Kind,
    namespace: Option<&str>,
    new: &Value,
    may: &[(&str, &str)],
) -> Result<(), String> {
    let grant = Grant {
        user,
        kind,
        namespace,
        new,
        old: None,
    };
    check(&policy(), &grant, |way_out| {
        may.contains(&(way_out.verb, way_out.resource))
    })
}

fn jane() -> UserInfo {
    UserInfo::new("jane", ["dev"])
}

#[test]
fn a_role_may_hold_what_its_writer_holds() {
    let in_a = |rules: &Value| checked(&jane(), Kind::Role, Some("a"), &role(rules), &[]);
    assert_eq!(in_a(&pods(&["get"])), Ok(()));
    assert_eq!(
        in_a(&pods(&["get", "delete"])).unwrap_err(),
        "user \"jane\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
    );
    // What she has in a is of no use in b, nor for the cluster.
    assert!(checked(&jane(), Kind::Role, Some("b"), &role(&pods(&["get"])), &[]).is_err());
    assert!(
        checked(
            &jane(),
            Kind::ClusterRole,
            None,
            &role(&pods(&["get"])),
            &[]
        )
        .is_err()
    );
    let masters = UserInfo::new("root", [MASTERS]);
    assert_eq!(
        checked(&masters, Kind::ClusterRole, None, &role(&pods(&["*"])), &[]),
        Ok(())
    );
}

#[test]
fn a_binding_may_hand_out_what_its_writer_holds() {
    let in_a = |role: &str, may: &[(&str, &str)]| {
        checked(
            &jane(),
            Kind::RoleBinding,
            Some("a"),
            &binding("ClusterRole", role),
            may,
        )
    };
    assert_eq!(in_a("reader", &[]), Ok(()));
    assert!(in_a("writer", &[]).is_err());
    assert_eq!(in_a("writer", &[("bind", "clusterroles")]), Ok(()));
    assert!(in_a("writer", &[("bind", "roles"), ("escalate", "clusterroles")]).is_err());
    assert_eq!(
        in_a("nobody", &[]).unwrap_err(),
        r#"clusterrole.rbac.authorization.k8s.io "nobody" not found"#
    );
    assert_eq!(in_a("nobody", &[("bind", "clusterroles")]), Ok(()));
    assert!(
        checked(
            &jane(),
            Kind::ClusterRoleBinding,
            None,
            &binding("ClusterRole", "reader"),
            &[]
        )
        .is_err()
    );
}

#[test]
fn escalate_and_nothing_else_lets_any_rules_be_written() {
    let all = role(&json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]));
    let with = |may: &[(&str, &str)]| checked(&jane(), Kind::ClusterRole, None, &all, may);
    assert_eq!(with(&[("escalate", "clusterroles")]), Ok(()));
    assert!(with(&[("bind", "clusterroles"), ("escalate", "roles")]).is_err());
}

#[test]
fn an_aggregated_role_needs_everything() {
    let aggregated = json!({"metadata": {"name": "r"}, "aggregationRule": {"clusterRoleSelectors": []}, "rules": []});
    assert!(checked(&jane(), Kind::ClusterRole, None, &aggregated, &[]).is_err());
    let masters = UserInfo::new("root", [MASTERS]);
    assert_eq!(
        checked(&masters, Kind::ClusterRole, None, &aggregated, &[]),
        Ok(())
    );
}

#[test]
fn a_change_that_grants_nothing_is_allowed_and_any_other_is_checked() {
    let user = jane();
    let mut old = role(&pods(&["*"]));
    old["metadata"]["finalizers"] = json!(["x"]);
    let check_update = |new: &Value| {
        let grant = Grant {
            user: &user,
            kind: Kind::Role,
            namespace: Some("a"),
            new,
            old: Some(&old),
        };
        check(&policy(), &grant, |_| false)
    };
    assert_eq!(check_update(&role(&pods(&["*"]))), Ok(()));
    assert!(check_update(&role(&pods(&["*", "get"]))).is_err());
    assert_eq!(check_update(&role(&pods(&["get"]))), Ok(()));
}

#[test]
fn a_refusal_stays_short() {
    let verbs: Vec<Value> = (0..100)
        .map(|n| json!({"verbs": ["get"], "apiGroups": [""], "resources": [format!("r{n}")]}))
        .collect();
    let told = checked(&jane(), Kind::Role, Some("a"), &role(&json!(verbs)), &[]).unwrap_err();
    assert_eq!(told.lines().count(), 22);
    assert!(told.ends_with("and 80 more"));
}

#[test]
fn only_roles_and_bindings_grant() {
    assert_eq!(granting(GROUP, "roles"), Some(Kind::Role));
    assert_eq!(granting("", "roles"), None);
    assert_eq!(granting(GROUP, "pods"), None);
}
