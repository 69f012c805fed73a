//! Events: what users are told.

use serde_json::Value;

use crate::cluster::{Cluster, DEPLOYMENTS, EVENTS, PODS, deployment, is_owned};

#[tokio::test]
async fn users_are_told_what_was_done() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 12)).await;
    cluster.count(PODS, 12, is_owned).await;
    let created = |event: &Value| event["reason"] == "SuccessfulCreate";
    // Upstream's rule: nine of a sort by themselves, and one for all the others.
    let told = cluster
        .until("events", async || {
            let events = cluster.list(EVENTS).await;
            let created: Vec<Value> = events.iter().filter(|one| created(one)).cloned().collect();
            let total: i64 = created.iter().filter_map(|one| one["count"].as_i64()).sum();
            if total == 12 {
                Ok(created)
            } else {
                Err(events.into())
            }
        })
        .await;
    assert_eq!(told.len(), 10, "{told:#?}");
    let combined = told.iter().find(|one| one["count"] == 3).unwrap();
    let message = combined["message"].as_str().unwrap();
    assert!(message.starts_with("(combined from similar events): Created pod: web-"));
    assert_eq!(combined["involvedObject"]["kind"], "ReplicaSet");
    assert_eq!(combined["reportingComponent"], "replicaset-controller");
    cluster.stop().await;
}
