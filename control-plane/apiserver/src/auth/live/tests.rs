//! The authorizer on a real store: grants at once, revokes soon, survives falling behind.

use coracle_store::{Change, Durability, Expect, MemoryStorage, Op, history::HistoryLimits};
use serde_json::{Value, json};

use super::*;
use crate::auth::{
    Attributes, Authorizer, Denied, ResourceTarget, Target, UserInfo, Write,
    user::{MASTERS, NODES},
};

async fn put(store: &dyn Storage, key: &str, value: &Value) {
    let op = Op {
        key: key.to_owned(),
        expect: Expect::Any,
        change: Change::Put(value.to_string().into()),
        durability: Durability::Durable,
    };
    store.commit(vec![op]).await.unwrap();
}

async fn remove(store: &dyn Storage, key: &str) {
    let op = Op {
        key: key.to_owned(),
        expect: Expect::Any,
        change: Change::Delete,
        durability: Durability::Durable,
    };
    store.commit(vec![op]).await.unwrap();
}

fn secret(authorizer: &Authorizer, user: &UserInfo, name: &str) -> Result<(), Denied> {
    authorizer.authorize(&Attributes {
        user,
        verb: "get",
        target: Target::Resource(ResourceTarget {
            resource: "secrets",
            namespace: Some("a"),
            name: Some(name),
            ..ResourceTarget::default()
        }),
    })
}

fn role() -> Value {
    json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]})
}

fn binding(user: &str) -> Value {
    json!({"subjects": [{"kind": "User", "name": user}], "roleRef": {"kind": "Role", "name": "reader"}})
}

const ROLE: &str = "/registry/rbac.authorization.k8s.io/roles/a/reader";
const BINDING: &str = "/registry/rbac.authorization.k8s.io/rolebindings/a/reader";

/// Waits until the background task has seen a revocation.
async fn until_refused(authorizer: &Authorizer, user: &UserInfo, name: &str) {
    let refused = async {
        while secret(authorizer, user, name).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_grant_counts_at_once_and_a_revocation_soon() {
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    put(&*store, ROLE, &role()).await;
    let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
    let jane = UserInfo::new::<&str>("jane", []);
    assert!(secret(&authorizer, &jane, "s").is_err());
    put(&*store, BINDING, &binding("jane")).await;
    assert_eq!(secret(&authorizer, &jane, "s"), Ok(()));
    assert_eq!(authorizer.rules_of(&jane, Some("a")).len(), 1);
    remove(&*store, BINDING).await;
    until_refused(&authorizer, &jane, "s").await;
    let told = secret(&authorizer, &jane, "s").unwrap_err().message;
    assert_eq!(
        told,
        r#"secrets "s" is forbidden: User "jane" cannot get resource "secrets" in API group "" in the namespace "a""#
    );
    let root = UserInfo::new("root", [MASTERS]);
    assert_eq!(secret(&authorizer, &root, "s"), Ok(()));
}

#[tokio::test]
async fn a_node_reads_a_pods_secret_from_the_binding_to_the_end_of_the_pod() {
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
    let node = UserInfo::new("system:node:n1", [NODES]);
    let pod = |node: &str| json!({"spec": {"nodeName": node, "imagePullSecrets": [{"name": "s"}]}});
    put(&*store, "/registry/core/pods/a/p", &pod("")).await;
    let told = secret(&authorizer, &node, "s").unwrap_err().message;
    assert!(
        told.ends_with(": no relationship found between node \"n1\" and this object"),
        "{told}"
    );
    put(&*store, "/registry/core/pods/a/p", &pod("n1")).await;
    assert_eq!(secret(&authorizer, &node, "s"), Ok(()));
    assert!(secret(&authorizer, &node, "t").is_err());
    // The name alone does not make a node.
    let impostor = UserInfo::new::<&str>("system:node:n1", []);
    assert!(secret(&authorizer, &impostor, "s").is_err());
    remove(&*store, "/registry/core/pods/a/p").await;
    until_refused(&authorizer, &node, "s").await;
}

#[tokio::test]
async fn falling_behind_the_stores_history_is_made_good() {
    let limits = HistoryLimits {
        events: 4,
        ..HistoryLimits::default()
    };
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::with_history(limits));
    put(&*store, ROLE, &role()).await;
    put(&*store, BINDING, &binding("jane")).await;
    let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
    let (jane, joe) = (
        UserInfo::new::<&str>("jane", []),
        UserInfo::new::<&str>("joe", []),
    );
    assert_eq!(secret(&authorizer, &jane, "s"), Ok(()));
    // On one thread the task does not run between these writes: it will find its place in history gone.
    put(&*store, BINDING, &binding("joe")).await;
    for n in 0..50 {
        put(&*store, "/registry/core/pods/a/p", &json!({"n": n})).await;
    }
    until_refused(&authorizer, &jane, "s").await;
    assert_eq!(secret(&authorizer, &joe, "s"), Ok(()));
    put(&*store, BINDING, &binding("jane")).await;
    assert_eq!(secret(&authorizer, &jane, "s"), Ok(()));
}

#[tokio::test]
async fn what_cannot_be_read_grants_nothing_and_stops_nothing() {
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    put(&*store, ROLE, &role()).await;
    put(&*store, BINDING, &json!("nonsense")).await;
    put(
        &*store,
        "/registry/rbac.authorization.k8s.io/roles/too/many/parts",
        &role(),
    )
    .await;
    put(&*store, "/registry/core/pods/a/p", &json!([])).await;
    let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
    let jane = UserInfo::new::<&str>("jane", []);
    assert!(secret(&authorizer, &jane, "s").is_err());
    put(&*store, BINDING, &binding("jane")).await;
    assert_eq!(secret(&authorizer, &jane, "s"), Ok(()));
}

#[tokio::test]
async fn writes_are_looked_at_for_what_they_would_grant() {
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    put(&*store, ROLE, &role()).await;
    put(&*store, BINDING, &binding("jane")).await;
    let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
    let jane = UserInfo::new::<&str>("jane", []);
    let key = coracle_api::names::ObjectKey::namespaced("a", "r");
    let new = json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["secrets"]}]});
    let write = Write {
        user: &jane,
        group: GROUP,
        resource: "roles",
        subresource: None,
        key: &key,
        new: &new,
        old: None,
    };
    let told = authorizer.admit(&write).unwrap_err().message;
    assert!(
        told.starts_with(r#"roles.rbac.authorization.k8s.io "r" is forbidden: user "jane" "#),
        "{told}"
    );
    assert_eq!(
        authorizer.admit(&Write {
            new: &role(),
            ..write
        }),
        Ok(())
    );
    let grant = json!({
        "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"kind": "Role", "name": "boss"},
    });
    put(
        &*store,
        "/registry/rbac.authorization.k8s.io/rolebindings/a/boss",
        &grant,
    )
    .await;
    let boss = json!({"rules": [{"verbs": ["escalate"], "apiGroups": [GROUP], "resources": ["roles"], "resourceNames": ["r"]}]});
    put(
        &*store,
        "/registry/rbac.authorization.k8s.io/roles/a/boss",
        &boss,
    )
    .await;
    assert_eq!(authorizer.admit(&write), Ok(()));
    let node = UserInfo::new("system:node:n1", [NODES]);
    let other = coracle_api::names::ObjectKey::cluster("n2");
    let write = Write {
        user: &node,
        group: "",
        resource: "nodes",
        key: &other,
        new: &json!({}),
        ..write
    };
    let told = authorizer.admit(&write).unwrap_err().message;
    assert_eq!(
        told,
        r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#
    );
}

#[tokio::test]
async fn a_dropped_authorizer_stops_its_task() {
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
    let held = Arc::strong_count(&store);
    assert!(held > 1);
    drop(authorizer);
    let gone = async {
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
}
