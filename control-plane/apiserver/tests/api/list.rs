//! Lists: selectors, pages, revisions, shapes.

use serde_json::{Value, json};

use crate::cluster::{CONFIG_MAPS, Cluster, PODS, TABLE, names, pod, version};

async fn five(cluster: &Cluster) {
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")] {
        cluster
            .config_map(name, json!({"app": app, name: "1"}))
            .await;
    }
}

#[tokio::test]
async fn a_list_has_items_and_a_version_to_watch_from() {
    let cluster = Cluster::new().await;
    let empty = cluster.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(empty["items"], json!([]));
    five(&cluster).await;
    let list = cluster.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("ConfigMapList"), &json!("v1"))
    );
    assert_eq!(names(&list), ["a", "b", "c", "d", "e"]);
    let newest = list["items"].as_array().unwrap().iter().map(version).max();
    assert_eq!(Some(version(&list)), newest);
    let one = cluster.get(&format!("{CONFIG_MAPS}/c")).await.expect(200);
    assert_eq!(list["items"][2], one, "spliced alike");
}

#[tokio::test]
async fn all_namespaces_are_one_collection() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let object = crate::cluster::config_map("b", json!({}));
    cluster
        .post("/api/v1/namespaces/kube-system/configmaps", &object)
        .await
        .expect(201);
    assert_eq!(cluster.names("/api/v1/configmaps").await, ["a", "b"]);
    assert_eq!(
        cluster
            .names("/api/v1/configmaps?fieldSelector=metadata.namespace%3Dkube-system")
            .await,
        ["b"]
    );
    cluster
        .post("/api/v1/configmaps", &object)
        .await
        .refused(405, "MethodNotAllowed");
    assert!(
        cluster
            .names("/api/v1/namespaces/nowhere/configmaps")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn selectors_choose() {
    let cluster = Cluster::new().await;
    five(&cluster).await;
    for (query, expected) in [
        ("labelSelector=app%3Dx", vec!["a", "c", "e"]),
        ("labelSelector=app+in+(x,y),!a,!b", vec!["c", "d", "e"]),
        ("labelSelector=app!%3Dx", vec!["b", "d"]),
        (
            "labelSelector=app%3Dx&fieldSelector=metadata.name%3Dc",
            vec!["c"],
        ),
        ("fieldSelector=metadata.name!%3Dc", vec!["a", "b", "d", "e"]),
        ("fieldSelector=metadata.name%3Dnone", vec![]),
        (
            "labelSelector=app%3Dy&fieldSelector=metadata.name%3Dc",
            vec![],
        ),
    ] {
        assert_eq!(
            cluster.names(&format!("{CONFIG_MAPS}?{query}")).await,
            expected,
            "{query}"
        );
    }
    for query in [
        "labelSelector=a%3D%3D%3Db",
        "labelSelector=!",
        "fieldSelector=x",
        "fieldSelector=spec.foo%3D1",
    ] {
        cluster
            .get(&format!("{CONFIG_MAPS}?{query}"))
            .await
            .refused(400, "BadRequest");
    }
}

#[tokio::test]
async fn fields_of_the_object_choose_too() {
    let cluster = Cluster::new().await;
    for (name, node) in [("p", "n1"), ("q", "n2"), ("r", "")] {
        let mut object = pod(name);
        object["spec"]["nodeName"] = json!(node);
        cluster.post(PODS, &object).await.expect(201);
    }
    let by = async |selector: &str| {
        cluster
            .names(&format!("/api/v1/pods?fieldSelector={selector}"))
            .await
    };
    assert_eq!(by("spec.nodeName%3Dn1").await, ["p"]);
    assert_eq!(by("spec.nodeName%3D").await, ["r"]);
    assert_eq!(
        by("spec.nodeName!%3Dn1,status.phase%3DPending").await,
        ["q", "r"]
    );
}

#[tokio::test]
async fn pages_are_cut_from_one_snapshot() {
    let cluster = Cluster::new().await;
    five(&cluster).await;
    let first = cluster
        .get(&format!("{CONFIG_MAPS}?limit=2"))
        .await
        .expect(200);
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["a".into(), "b".into()], &json!(3))
    );
    cluster.config_map("bb", json!({})).await;
    cluster
        .delete(&format!("{CONFIG_MAPS}/c"))
        .await
        .expect(200);
    let next = |page: &Value| {
        let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
        format!("{CONFIG_MAPS}?limit=2&continue={token}")
    };
    let second = cluster.get(&next(&first)).await.expect(200);
    assert_eq!(names(&second), ["c", "d"], "as it was at the first page");
    assert_eq!(version(&second), version(&first));
    let third = cluster.get(&next(&second)).await.expect(200);
    assert_eq!(names(&third), ["e"]);
    assert!(third["metadata"].get("continue").is_none());
    assert!(third["metadata"].get("remainingItemCount").is_none());
}

#[tokio::test]
async fn pages_of_a_selection_are_full() {
    let cluster = Cluster::new().await;
    five(&cluster).await;
    let first = cluster
        .get(&format!("{CONFIG_MAPS}?limit=2&labelSelector=app%3Dx"))
        .await
        .expect(200);
    assert_eq!(names(&first), ["a", "c"]);
    assert!(
        first["metadata"].get("remainingItemCount").is_none(),
        "not known"
    );
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster
        .get(&format!(
            "{CONFIG_MAPS}?limit=2&labelSelector=app%3Dx&continue={token}"
        ))
        .await
        .expect(200);
    assert_eq!(names(&second), ["e"]);
    assert!(second["metadata"].get("continue").is_none());
}

#[tokio::test]
async fn an_expired_page_says_how_to_go_on() {
    let cluster = Cluster::with_history(4).await;
    five(&cluster).await;
    let first = cluster
        .get(&format!("{CONFIG_MAPS}?limit=2"))
        .await
        .expect(200);
    for name in ["v", "w", "x", "y", "z"] {
        cluster.config_map(name, json!({})).await;
    }
    let token = first["metadata"]["continue"].as_str().unwrap();
    let expired = cluster
        .get(&format!("{CONFIG_MAPS}?limit=2&continue={token}"))
        .await;
    expired.refused(410, "Expired");
    let inconsistent = expired.json()["metadata"]["continue"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = cluster
        .get(&format!("{CONFIG_MAPS}?limit=3&continue={inconsistent}"))
        .await
        .expect(200);
    assert_eq!(names(&second), ["c", "d", "e"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = cluster
        .get(&format!("{CONFIG_MAPS}?continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&third), ["v", "w", "x", "y", "z"]);
    cluster
        .get(&format!("{CONFIG_MAPS}?continue=nonsense"))
        .await
        .refused(400, "BadRequest");
}

#[tokio::test]
async fn revisions_of_lists_mean_what_the_api_says() {
    let cluster = Cluster::with_history(6).await;
    let a = cluster.config_map("a", json!({})).await;
    cluster.config_map("b", json!({})).await;
    let at = version(&a);
    let list = async |query: String| cluster.get(&format!("{CONFIG_MAPS}?{query}")).await;
    let exact = list(format!("resourceVersion={at}&resourceVersionMatch=Exact"))
        .await
        .expect(200);
    assert_eq!((names(&exact), version(&exact)), (vec!["a".to_owned()], at));
    for query in [
        format!("resourceVersion={at}"),
        "resourceVersion=0".into(),
        format!("resourceVersion={at}&resourceVersionMatch=NotOlderThan"),
    ] {
        assert_eq!(names(&list(query).await.expect(200)), ["a", "b"]);
    }
    list("resourceVersion=99999".into())
        .await
        .refused(504, "Timeout");
    cluster
        .get(&format!("{CONFIG_MAPS}/a?resourceVersion=99999"))
        .await
        .refused(504, "Timeout");
    list("resourceVersionMatch=Exact".into())
        .await
        .refused(422, "Invalid");
    for name in ["c", "d", "e", "f", "g", "h"] {
        cluster.config_map(name, json!({})).await;
    }
    list(format!("resourceVersion={at}&resourceVersionMatch=Exact"))
        .await
        .refused(410, "Expired");
}

#[tokio::test]
async fn tables_have_the_kinds_columns() {
    let cluster = Cluster::new().await;
    cluster.post(PODS, &pod("p")).await.expect(201);
    let table = cluster.get_as(PODS, TABLE).await.expect(200);
    assert_eq!(
        (&table["kind"], &table["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
    let row = &table["rows"][0];
    assert_eq!(
        row["cells"].as_array().unwrap()[..3],
        [json!("p"), json!("0/1"), json!("Pending")]
    );
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert!(row["object"].get("spec").is_none());
    let full = cluster
        .get_as(&format!("{PODS}?includeObject=Object"), TABLE)
        .await
        .expect(200);
    assert_eq!(
        full["rows"][0]["object"]["spec"]["containers"][0]["name"],
        "main"
    );
    let none = cluster
        .get_as(&format!("{PODS}?includeObject=None"), TABLE)
        .await
        .expect(200);
    assert!(none["rows"][0].get("object").is_none());
    cluster
        .get_as(&format!("{PODS}?includeObject=Some"), TABLE)
        .await
        .refused(400, "BadRequest");
    let old = cluster
        .get_as(
            &format!("{PODS}/p"),
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
        )
        .await
        .expect(200);
    assert_eq!(
        (&old["apiVersion"], old["rows"].as_array().unwrap().len()),
        (&json!("meta.k8s.io/v1beta1"), 1)
    );
}

#[tokio::test]
async fn metadata_alone_can_be_had() {
    let cluster = Cluster::new().await;
    five(&cluster).await;
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = cluster.get_as(CONFIG_MAPS, accept).await.expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(names(&list).len(), 5);
    let full = cluster.get(&format!("{CONFIG_MAPS}/a")).await.expect(200);
    let item = &list["items"][0];
    assert_eq!(item["metadata"], full["metadata"]);
    assert!(item["kind"] == "PartialObjectMetadata" && item.get("data").is_none());
}

#[tokio::test]
async fn large_lists_are_streamed_compressed_and_complete() {
    let cluster = Cluster::new().await;
    for n in 0..400 {
        let mut object = crate::cluster::config_map(&format!("c{n:04}"), json!({}));
        object["data"]["fill"] = json!("x".repeat(1000));
        cluster.post(CONFIG_MAPS, &object).await.expect(201);
    }
    let plain = cluster.get(CONFIG_MAPS).await;
    let list = plain.expect(200);
    assert_eq!(names(&list).len(), 400);
    assert!(plain.header("content-encoding").is_none());
    let length = plain.header("content-length").unwrap();
    assert_eq!(
        length,
        plain.bytes.len().to_string(),
        "known before it is sent"
    );
    let headers = [("accept-encoding", "gzip")];
    let packed = cluster
        .request(
            http::Method::GET,
            CONFIG_MAPS,
            &headers,
            axum::body::Body::empty(),
        )
        .await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.bytes.starts_with(&[0x1f, 0x8b]) && packed.bytes.len() < plain.bytes.len() / 5);
    let small = cluster
        .request(
            http::Method::GET,
            &format!("{CONFIG_MAPS}/c0001"),
            &headers,
            axum::body::Body::empty(),
        )
        .await;
    assert!(small.header("content-encoding").is_none());
}

#[tokio::test]
async fn what_nobody_can_make_is_not_acceptable() {
    let cluster = Cluster::new().await;
    let message = cluster
        .get_as(CONFIG_MAPS, "text/html")
        .await
        .refused(406, "NotAcceptable");
    assert!(
        message.starts_with("only the following media types are accepted: application/json"),
        "{message}"
    );
    cluster.config_map("a", json!({})).await;
    let yaml = cluster
        .get_as(&format!("{CONFIG_MAPS}/a"), "application/yaml")
        .await;
    assert_eq!(yaml.header("content-type"), Some("application/yaml"));
    let text = String::from_utf8(yaml.bytes.to_vec()).unwrap();
    assert!(text.contains("kind: ConfigMap"), "{text}");
}
