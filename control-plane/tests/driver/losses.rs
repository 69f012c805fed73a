//! What happens while the driver hears nothing is made up for when it hears again.

use serde_json::json;

use crate::cluster::{
    Cluster, DEPLOYMENTS, MAPS, PODS, config_map, deployment, is_owned, uid, uri_of,
};

/// What happened meanwhile is seen, whether by what the watch still has or by a new list.
async fn catches_up(forgetful: bool) {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    let pods = cluster.count(PODS, 3, is_owned).await;
    let owner = cluster.create(MAPS, &config_map("owner", None)).await;
    cluster
        .create(MAPS, &config_map("owned", Some(&owner)))
        .await;
    cluster.quiet().await;
    cluster.connect(false);
    let lost = uid(&pods[0]);
    cluster
        .delete(&uri_of(&pods[0], "/api/v1", "pods"), json!({}))
        .await;
    cluster.delete(&format!("{MAPS}/owner"), json!({})).await;
    // Another object of the same name is no reason to think that nothing happened.
    cluster.create(MAPS, &config_map("owner", None)).await;
    if forgetful {
        let now = cluster.store.revision();
        cluster.store.compact(now).await.unwrap();
    }
    cluster.connect(true);
    cluster.gone(&format!("{MAPS}/owned")).await;
    cluster
        .count(PODS, 3, |pod| is_owned(pod) && uid(pod) != lost)
        .await;
    assert!(cluster.get(&format!("{MAPS}/owner")).await.is_some());
    cluster.quiet().await;
    let relists = cluster.driver.metrics().relists.get();
    assert_eq!(relists > 0, forgetful, "{relists} relists");
    cluster.stop().await;
}

#[tokio::test]
async fn ends_that_no_watch_tells_are_made_up_from_a_new_list() {
    catches_up(true).await;
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was() {
    catches_up(false).await;
}

#[tokio::test]
async fn a_driver_that_starts_late_finds_everything() {
    let cluster = Cluster::with(Vec::new()).await;
    cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    let controllers =
        coracle_controllers::registered::all(coracle_controllers::node_health::Settings::default());
    let user = coracle_apiserver::UserInfo::new("late", ["system:masters"]);
    let stop = tokio_util::sync::CancellationToken::new();
    let driver = coracle_control_plane::driver::Driver::start(
        cluster.server.client(user),
        controllers,
        std::sync::Arc::new(coracle_apiserver::ambient::System),
        stop.clone(),
    );
    cluster.count(PODS, 3, is_owned).await;
    stop.cancel();
    driver.stopped().await;
    let after = cluster.store.revision();
    cluster.create(DEPLOYMENTS, &deployment("more", 3)).await;
    cluster.quiet().await;
    assert_eq!(
        cluster.store.revision().0,
        after.0 + 1,
        "a stopped driver writes nothing"
    );
    cluster.stop().await;
}
