//! Watches: where they begin, what they tell, how they end.

use serde_json::json;

use crate::cluster::{CONFIG_MAPS, Cluster, PODS, TABLE, pod, version};

const A: &str = "/api/v1/namespaces/default/configmaps/a";

#[tokio::test]
async fn without_a_version_the_present_comes_first() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    for query in ["", "&resourceVersion=0", "&resourceVersion="] {
        let mut watch = cluster
            .watch(&format!("{CONFIG_MAPS}?watch=true{query}"))
            .await;
        assert_eq!(watch.told().await, "ADDED a");
    }
    let mut watch = cluster.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(watch.told().await, "ADDED a");
    cluster.config_map("b", json!({})).await;
    let frame = watch.next().await.unwrap();
    let stored = cluster.get(&format!("{CONFIG_MAPS}/b")).await.expect(200);
    assert_eq!(frame, json!({"type": "ADDED", "object": stored}));
    cluster
        .patch(A, "merge", &json!({"data": {"a": "2"}}))
        .await
        .expect(200);
    assert_eq!(watch.told().await, "MODIFIED a");
    let before = cluster.get(A).await.expect(200);
    cluster.delete(A).await.expect(200);
    let gone = watch.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["data"], before["data"], "its last state");
    assert!(
        version(&gone["object"]) > version(&before),
        "at the revision of the deletion"
    );
}

#[tokio::test]
async fn from_a_version_come_the_changes_after_it() {
    let cluster = Cluster::new().await;
    let a = cluster.config_map("a", json!({})).await;
    cluster.config_map("b", json!({})).await;
    let mut watch = cluster
        .watch(&format!(
            "{CONFIG_MAPS}?watch=1&resourceVersion={}",
            version(&a)
        ))
        .await;
    assert_eq!(watch.told().await, "ADDED b");
    let list = cluster.get(CONFIG_MAPS).await.expect(200);
    let mut watch = cluster
        .watch(&format!(
            "{CONFIG_MAPS}?watch=1&resourceVersion={}",
            version(&list)
        ))
        .await;
    cluster.config_map("c", json!({})).await;
    assert_eq!(
        watch.told().await,
        "ADDED c",
        "nothing missing after a list, nothing twice"
    );
}

#[tokio::test]
async fn only_the_collection_is_watched() {
    let cluster = Cluster::new().await;
    let mut here = cluster.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    let mut everywhere = cluster.watch("/api/v1/configmaps?watch=1").await;
    let object = crate::cluster::config_map("x", json!({}));
    cluster
        .post("/api/v1/namespaces/kube-system/configmaps", &object)
        .await
        .expect(201);
    cluster.post(PODS, &pod("p")).await.expect(201);
    cluster.config_map("a", json!({})).await;
    assert_eq!(here.told().await, "ADDED a");
    assert_eq!(everywhere.told().await, "ADDED x");
    assert_eq!(everywhere.told().await, "ADDED a");
}

#[tokio::test]
async fn selectors_turn_changes_into_coming_and_going() {
    let cluster = Cluster::new().await;
    let mut watch = cluster
        .watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=on%3Dyes"))
        .await;
    cluster.config_map("a", json!({"on": "no"})).await;
    let label = async |value: &str| {
        cluster
            .patch(A, "merge", &json!({"metadata": {"labels": {"on": value}}}))
            .await
            .expect(200)
    };
    label("yes").await;
    assert_eq!(watch.told().await, "ADDED a");
    cluster
        .patch(A, "merge", &json!({"data": {"a": "2"}}))
        .await
        .expect(200);
    assert_eq!(watch.told().await, "MODIFIED a");
    let after = label("no").await;
    let gone = watch.next().await.unwrap();
    assert_eq!(
        (&gone["type"], version(&gone["object"])),
        (&json!("DELETED"), version(&after))
    );
    assert_eq!(
        gone["object"]["metadata"]["labels"]["on"], "yes",
        "as it was last meant"
    );
    label("maybe").await;
    cluster.delete(A).await.expect(200);
    cluster.config_map("b", json!({"on": "yes"})).await;
    assert_eq!(watch.told().await, "ADDED b");
}

#[tokio::test]
async fn pods_are_followed_by_node() {
    let cluster = Cluster::new().await;
    let mut watch = cluster
        .watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1")
        .await;
    cluster.post(PODS, &pod("p")).await.expect(201);
    let bind = json!({"target": {"name": "n1"}});
    cluster
        .post(&format!("{PODS}/p/binding"), &bind)
        .await
        .expect(201);
    assert_eq!(watch.told().await, "ADDED p");
    cluster
        .delete(&format!("{PODS}/p?gracePeriodSeconds=0"))
        .await
        .expect(200);
    assert_eq!(watch.told().await, "DELETED p");
    let invalid = cluster
        .get("/api/v1/pods?watch=1&fieldSelector=spec.foo%3Dn1")
        .await;
    invalid.refused(400, "BadRequest");
}

#[tokio::test]
async fn one_object_is_followed_by_name() {
    let cluster = Cluster::new().await;
    let mut watch = cluster
        .watch(&format!(
            "{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Da"
        ))
        .await;
    cluster.config_map("ab", json!({})).await;
    cluster.config_map("a", json!({})).await;
    cluster.delete(A).await.expect(200);
    assert_eq!(watch.told().await, "ADDED a");
    assert_eq!(watch.told().await, "DELETED a");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    cluster.config_map("b", json!({})).await;
    let query =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = cluster.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(watch.told().await, "ADDED a");
    assert_eq!(watch.told().await, "ADDED b");
    let mark = watch.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["kind"], "ConfigMap");
    assert_eq!(
        mark["object"]["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    let list = cluster.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(version(&mark["object"]), version(&list));
    cluster.config_map("c", json!({})).await;
    assert_eq!(watch.told().await, "ADDED c");

    let quiet = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let mut watch = cluster.watch(&format!("{CONFIG_MAPS}?{quiet}")).await;
    cluster.config_map("d", json!({})).await;
    assert_eq!(watch.told().await, "ADDED d");
    for bad in [
        "watch=1&sendInitialEvents=true",
        "watch=1&resourceVersionMatch=NotOlderThan",
        "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
    ] {
        cluster
            .get(&format!("{CONFIG_MAPS}?{bad}"))
            .await
            .refused(422, "Invalid");
    }
}

#[tokio::test]
async fn a_watch_ends_in_time_with_a_bookmark_to_resume_from() {
    let cluster = Cluster::new().await;
    let list = cluster.get(CONFIG_MAPS).await.expect(200);
    let uri = format!(
        "{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={}",
        version(&list)
    );
    let mut plain = cluster.watch(&uri).await;
    let mut marked = cluster
        .watch(&format!("{uri}&allowWatchBookmarks=true"))
        .await;
    let elsewhere = cluster.post(PODS, &pod("p")).await.expect(201);
    assert_eq!(plain.all().await, Vec::<String>::new());
    let bookmark = marked.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(version(&bookmark["object"]), version(&elsewhere));
    assert!(marked.next().await.is_none());
}

#[tokio::test]
async fn too_old_and_too_new_are_told() {
    let cluster = Cluster::with_history(3).await;
    let a = cluster.config_map("a", json!({})).await;
    for name in ["b", "c", "d", "e"] {
        cluster.config_map(name, json!({})).await;
    }
    let mut watch = cluster
        .watch(&format!(
            "{CONFIG_MAPS}?watch=1&resourceVersion={}",
            version(&a)
        ))
        .await;
    let error = watch.next().await.unwrap();
    assert_eq!(
        (
            &error["type"],
            &error["object"]["code"],
            &error["object"]["reason"]
        ),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert!(watch.next().await.is_none());
    cluster
        .get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=99999"))
        .await
        .refused(504, "Timeout");
    cluster
        .get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=x"))
        .await
        .refused(400, "BadRequest");
}

#[tokio::test]
async fn who_falls_behind_the_history_is_cut_off() {
    let cluster = Cluster::with_history(3).await;
    let mut slow = cluster.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    for n in 0..10 {
        cluster.config_map(&format!("c{n}"), json!({})).await;
    }
    let error = slow.next().await.unwrap();
    assert_eq!(
        (&error["type"], &error["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn tables_are_watched_with_columns_in_the_first_frame() {
    let cluster = Cluster::new().await;
    cluster.post(PODS, &pod("p")).await.expect(201);
    let mut watch = cluster.watch_as(&format!("{PODS}?watch=1"), TABLE).await;
    let first = watch.next().await.unwrap();
    assert_eq!(
        (&first["type"], &first["object"]["kind"]),
        (&json!("ADDED"), &json!("Table"))
    );
    assert!(
        !first["object"]["columnDefinitions"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert_eq!(first["object"]["rows"][0]["cells"][0], "p");
    cluster.post(PODS, &pod("q")).await.expect(201);
    let second = watch.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
    assert_eq!(
        second["object"]["rows"][0]["object"]["metadata"]["name"],
        "q"
    );
}

#[tokio::test]
async fn many_watchers_see_the_same_frames() {
    let cluster = Cluster::new().await;
    let mut watches = Vec::new();
    for _ in 0..200 {
        watches.push(cluster.watch(&format!("{CONFIG_MAPS}?watch=1")).await);
    }
    for n in 0..5 {
        cluster.config_map(&format!("c{n}"), json!({})).await;
    }
    for watch in &mut watches {
        for n in 0..5 {
            assert_eq!(watch.told().await, format!("ADDED c{n}"));
        }
    }
}

#[tokio::test]
async fn claims_are_nobodys_to_see() {
    let cluster = Cluster::new().await;
    let mut watch = cluster
        .watch("/api/v1/services?watch=1&resourceVersion=0")
        .await;
    assert_eq!(watch.told().await, "ADDED kubernetes");
    let web = crate::cluster::service("web");
    cluster
        .post(crate::cluster::SERVICES, &web)
        .await
        .expect(201);
    assert_eq!(
        watch.told().await,
        "ADDED web",
        "in one transaction with its claims"
    );
}
