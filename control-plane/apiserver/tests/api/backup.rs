//! Backups over the API, and what the store shows of itself.

use std::sync::Arc;

use coracle_apiserver::UserInfo;
use coracle_store::{List, SledOptions, SledStorage, backup::BackupReader};
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test]
async fn the_administrator_gets_everything_at_one_revision() {
    let cluster = Cluster::new().await;
    for number in 0..20 {
        cluster.config_map(&format!("a{number}"), json!({})).await;
    }
    let answer = cluster.get("/store/backup").await;
    assert_eq!(answer.code, 200);
    let held = cluster.store.list(List::default()).await.unwrap();
    let mut backup = BackupReader::new(&answer.bytes[..]).unwrap();
    assert_eq!(backup.revision(), held.revision);
    let mut records = Vec::new();
    while let Some(some) = backup.more().unwrap() {
        records.extend(some.into_iter().map(Arc::new));
    }
    assert_eq!(records, held.records);
}

#[tokio::test]
async fn nobody_else_gets_a_backup_unless_a_role_says_so() {
    let mut cluster = Cluster::new().await;
    let admin = cluster.user.clone();
    let jane = UserInfo::new("jane", ["system:authenticated"]);
    cluster.user = jane.clone();
    let message = cluster.get("/store/backup").await.refused(403, "Forbidden");
    assert_eq!(
        message,
        r#"forbidden: User "jane" cannot get path "/store/backup""#
    );
    cluster.user = admin;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "backup"}, "rules": [{"nonResourceURLs": ["/store/backup"], "verbs": ["get"]}]});
    cluster
        .post(&format!("{rbac}/clusterroles"), &role)
        .await
        .expect(201);
    let binding = json!({"metadata": {"name": "backup"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "backup"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    cluster
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    cluster.user = jane;
    assert_eq!(cluster.get("/store/backup").await.code, 200);
}

#[tokio::test]
async fn the_stores_numbers_are_among_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStorage::open(folder.path(), &SledOptions::default()).unwrap();
    let cluster = Cluster::on(Arc::new(store), |_| {}).await;
    let answer = cluster.get("/metrics").await;
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    let shown = |name: &str| text.lines().any(|line| line.starts_with(name));
    assert!(
        shown("coracle_store_bytes_written_total{part=\"Log\"} "),
        "{text}"
    );
    assert!(shown("coracle_apiserver_in_flight_requests "), "{text}");
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
}
