//! Creation.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::{
    CONFIG_MAPS, Cluster, DEPLOYMENTS, PODS, config_map, deployment, pod, version,
};

#[tokio::test]
async fn a_new_object_gets_its_identity_from_the_server() {
    let cluster = Cluster::new().await;
    let mut object = deployment("web");
    object["metadata"]["uid"] = json!("mine");
    object["metadata"]["generation"] = json!(77);
    object["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    object["metadata"]["managedFields"] = json!([{"manager": "me"}]);
    object["status"] = json!({"replicas": 5});
    let created = cluster.post(DEPLOYMENTS, &object).await.expect(201);
    let metadata = &created["metadata"];
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["namespace"], "default");
    let at: jiff::Timestamp = metadata["creationTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((jiff::Timestamp::now().as_second() - at.as_second()).abs() < 60);
    assert_eq!(metadata["managedFields"][0]["manager"], "unknown");
    assert!(metadata.get("deletionTimestamp").is_none());
    assert!(
        created
            .get("status")
            .is_none_or(|status| status == &json!({}))
    );
    assert_eq!(
        created["spec"]["strategy"]["type"], "RollingUpdate",
        "defaulted"
    );
    let stored = cluster.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(stored, created, "what was answered is what is stored");
    assert!(version(&created) > 0);
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let again = cluster.post(CONFIG_MAPS, &config_map("a", json!({}))).await;
    assert_eq!(
        again.refused(409, "AlreadyExists"),
        r#"configmaps "a" already exists"#
    );
    let details = &again.json()["details"];
    assert_eq!(details, &json!({"name": "a", "kind": "configmaps"}));
}

#[tokio::test]
async fn names_are_generated() {
    let cluster = Cluster::new().await;
    let mut object = config_map("", json!({}));
    object["metadata"] = json!({"generateName": "web-"});
    let (a, b) = (
        cluster.post(CONFIG_MAPS, &object).await.expect(201),
        cluster.post(CONFIG_MAPS, &object).await.expect(201),
    );
    let name = a["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_ne!(a["metadata"]["name"], b["metadata"]["name"]);
    object["metadata"] = json!({"generateName": "x".repeat(200)});
    let long = cluster.post(CONFIG_MAPS, &object).await.expect(201);
    assert_eq!(long["metadata"]["name"].as_str().unwrap().len(), 63);
}

#[tokio::test]
async fn a_namespace_must_exist_and_stay() {
    let cluster = Cluster::new().await;
    let uri = "/api/v1/namespaces/team/configmaps";
    let none = cluster.post(uri, &config_map("a", json!({}))).await;
    assert_eq!(
        none.refused(404, "NotFound"),
        r#"namespaces "team" not found"#
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    let created = cluster
        .post("/api/v1/namespaces", &namespace)
        .await
        .expect(201);
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(created["status"]["phase"], "Active");
    assert_eq!(
        created["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "team"
    );
    cluster
        .post(uri, &config_map("a", json!({})))
        .await
        .expect(201);
    cluster.delete("/api/v1/namespaces/team").await.expect(200);
    let late = cluster.post(uri, &config_map("b", json!({}))).await;
    assert_eq!(
        late.refused(403, "Forbidden"),
        r#"configmaps "b" is forbidden: unable to create new content in namespace team because it is being terminated"#
    );
}

#[tokio::test]
async fn a_dry_run_does_everything_but_store() {
    let cluster = Cluster::new().await;
    let uri = format!("{CONFIG_MAPS}?dryRun=All");
    let before = cluster.store.revision();
    let shown = cluster
        .post(&uri, &config_map("a", json!({})))
        .await
        .expect(201);
    assert!(shown["metadata"]["uid"].is_string());
    assert!(shown["metadata"].get("resourceVersion").is_none());
    assert_eq!(cluster.store.revision(), before);
    cluster
        .get(&format!("{CONFIG_MAPS}/a"))
        .await
        .refused(404, "NotFound");
    cluster.config_map("a", json!({})).await;
    cluster
        .post(&uri, &config_map("a", json!({})))
        .await
        .refused(409, "AlreadyExists");
    let wrong = cluster
        .post(
            &format!("{CONFIG_MAPS}?dryRun=Some"),
            &config_map("b", json!({})),
        )
        .await;
    wrong.refused(422, "Invalid");
}

#[tokio::test]
async fn what_does_not_fit_the_url_is_refused() {
    let cluster = Cluster::new().await;
    let post = async |object: Value| cluster.post(CONFIG_MAPS, &object).await;
    let mut object = config_map("a", json!({}));
    object["metadata"]["namespace"] = json!("kube-system");
    let message = post(object).await.refused(400, "BadRequest");
    assert_eq!(
        message,
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    let mut object = config_map("a", json!({}));
    object["kind"] = json!("Secret");
    post(object).await.refused(400, "BadRequest");
    let mut object = config_map("a", json!({}));
    object["apiVersion"] = json!("apps/v1");
    let message = post(object).await.refused(400, "BadRequest");
    assert_eq!(
        message,
        "the API version in the data (apps/v1) does not match the expected API version (v1)"
    );
    let mut object = config_map("a", json!({}));
    object["metadata"]["resourceVersion"] = json!("7");
    post(object).await.refused(400, "BadRequest");
    let nameless = post(json!({"metadata": {}})).await;
    let message = nameless.refused(422, "Invalid");
    assert!(
        message.contains("metadata.name: Required value: name or generateName is required"),
        "{message}"
    );
    assert_eq!(
        nameless.json()["details"]["causes"][0]["field"],
        "metadata.name"
    );
    let invalid = post(config_map("A_b", json!({})))
        .await
        .refused(422, "Invalid");
    assert!(
        invalid.starts_with(r#"ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b": "#),
        "{invalid}"
    );
    let unnamed = json!({"data": {"a": "b"}, "metadata": {"name": "no-kind"}});
    let created = post(unnamed).await.expect(201);
    assert_eq!(
        (&created["kind"], &created["apiVersion"]),
        (&json!("ConfigMap"), &json!("v1"))
    );
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_about_or_ignored() {
    let cluster = Cluster::new().await;
    let mut object = pod("p");
    object["spec"]["containers"][0]["imge"] = json!("typo");
    let strict = cluster
        .post(&format!("{PODS}?fieldValidation=Strict"), &object)
        .await;
    let message = strict.refused(400, "BadRequest");
    assert!(
        message.ends_with(r#"strict decoding error: unknown field "spec.containers[0].imge""#),
        "{message}"
    );
    let twice = r#"{"metadata":{"name":"a"},"data":{"x":"1","x":"2"}}"#;
    let uri = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let strict = cluster.request(Method::POST, &uri, &[], twice).await;
    let message = strict.refused(400, "BadRequest");
    assert!(
        message.ends_with(r#"duplicate field "data.x""#),
        "{message}"
    );

    let warned = cluster.post(PODS, &object).await;
    assert_eq!(
        warned.header("warning"),
        Some(r#"299 - "unknown field \"spec.containers[0].imge\"""#)
    );
    let created = warned.expect(201);
    assert!(
        created["spec"]["containers"][0].get("imge").is_none(),
        "dropped"
    );

    object["metadata"]["name"] = json!("q");
    let ignored = cluster
        .post(&format!("{PODS}?fieldValidation=Ignore"), &object)
        .await;
    assert_eq!((ignored.code, ignored.header("warning")), (201, None));
    let nonsense = cluster
        .post(&format!("{PODS}?fieldValidation=Sometimes"), &object)
        .await;
    nonsense.refused(422, "Invalid");
}

#[tokio::test]
async fn wrong_types_and_broken_bodies_are_refused() {
    let cluster = Cluster::new().await;
    let mut object = pod("p");
    object["spec"]["containers"][0]["ports"] = json!([{"containerPort": "eighty"}]);
    let message = cluster.post(PODS, &object).await.refused(400, "BadRequest");
    assert!(
        message.contains("cannot be handled as a Pod: json: cannot unmarshal string"),
        "{message}"
    );
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        "{\"metadata\":{\"name\":\"a\"}} x",
    ] {
        let answer = cluster.request(Method::POST, CONFIG_MAPS, &[], body).await;
        assert_eq!(answer.code, 400, "{body}");
    }
}

#[tokio::test]
async fn yaml_is_understood() {
    let cluster = Cluster::new().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n";
    let headers = [("content-type", "application/yaml")];
    let created = cluster
        .request(Method::POST, CONFIG_MAPS, &headers, yaml)
        .await;
    assert_eq!(created.expect(201)["data"], json!({"k": "v"}));
    let cbor = [("content-type", "application/cbor")];
    let refused = cluster
        .request(Method::POST, CONFIG_MAPS, &cbor, "\u{0}")
        .await;
    refused.refused(415, "UnsupportedMediaType");
}

#[tokio::test]
async fn concurrent_creators_of_one_name_agree_on_one() {
    let cluster = Cluster::new().await;
    let object = config_map("a", json!({}));
    let tries = (0..20).map(|_| cluster.post(CONFIG_MAPS, &object));
    let codes: Vec<_> = futures::future::join_all(tries)
        .await
        .iter()
        .map(|a| a.code)
        .collect();
    assert_eq!(
        codes.iter().filter(|code| **code == 201).count(),
        1,
        "{codes:?}"
    );
    assert_eq!(
        codes.iter().filter(|code| **code == 409).count(),
        19,
        "{codes:?}"
    );
}
