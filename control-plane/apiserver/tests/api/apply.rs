//! Server-side apply and who manages which field.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Answer, CONFIG_MAPS, Cluster, DEPLOYMENTS, deployment};

const A: &str = "/api/v1/namespaces/default/configmaps/a";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

async fn apply(cluster: &Cluster, uri: &str, manager: &str, config: &Value) -> Answer {
    let separator = if uri.contains('?') { '&' } else { '?' };
    let uri = format!("{uri}{separator}fieldManager={manager}");
    let headers = [("content-type", "application/apply-patch+yaml")];
    cluster
        .request(Method::PATCH, &uri, &headers, config.to_string())
        .await
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn web(replicas: Value) -> Value {
    let mut web = deployment("web");
    web["spec"]["replicas"] = replicas;
    web
}

/// Every entry as `manager Operation subresource: fieldsV1`.
fn told(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned();
    let shown = entries.into_iter().flatten().map(|entry| {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        assert_eq!(entry["fieldsType"], "FieldsV1");
        format!(
            "{} {} {}: {}",
            text("manager"),
            text("operation"),
            text("subresource"),
            entry["fieldsV1"]
        )
    });
    shown.collect()
}

#[tokio::test]
async fn a_configuration_creates_changes_and_removes() {
    let cluster = Cluster::new().await;
    let made = apply(&cluster, A, "me", &map(json!({"a": "1", "b": "2"})))
        .await
        .expect(201);
    assert_eq!(
        told(&made),
        [r#"me Apply -: {"f:data":{"f:a":{},"f:b":{}}}"#]
    );
    let changed = apply(&cluster, A, "me", &map(json!({"a": "3"})))
        .await
        .expect(200);
    assert_eq!(changed["data"], json!({"a": "3"}));
    let again = apply(&cluster, A, "me", &map(json!({"a": "3"})))
        .await
        .expect(200);
    assert_eq!(again, changed, "applied again, nothing is written");
    let dry = apply(
        &cluster,
        &format!("{A}?dryRun=All"),
        "me",
        &map(json!({"a": "9"})),
    )
    .await
    .expect(200);
    assert_eq!(dry["data"]["a"], "9");
    let other = "/api/v1/namespaces/default/configmaps/b?dryRun=All";
    let mut config = map(json!({}));
    config["metadata"]["name"] = json!("b");
    apply(&cluster, other, "me", &config).await.expect(201);
    assert_eq!(cluster.names(CONFIG_MAPS).await, ["a"]);
    assert_eq!(cluster.get(A).await.expect(200), changed);
}

#[tokio::test]
async fn conflicts_are_told_with_their_causes_and_can_be_forced() {
    let cluster = Cluster::new().await;
    apply(&cluster, WEB, "one", &web(json!(2)))
        .await
        .expect(201);
    let patch = json!({"spec": {"replicas": 5}});
    let uri = format!("{WEB}?fieldManager=scaler");
    cluster.patch(&uri, "merge", &patch).await.expect(200);
    let refused = apply(&cluster, WEB, "one", &web(json!(2))).await;
    let message = refused.refused(409, "Conflict");
    assert!(
        message.starts_with(
            "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1 at 20"
        ),
        "{message}"
    );
    assert!(message.ends_with(": .spec.replicas"), "{message}");
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["field"]),
        (&json!("FieldManagerConflict"), &json!(".spec.replicas"))
    );

    let forced = apply(
        &cluster,
        &format!("{WEB}?force=true"),
        "one",
        &web(json!(2)),
    )
    .await
    .expect(200);
    assert_eq!(forced["spec"]["replicas"], 2);
    assert!(
        !told(&forced)
            .iter()
            .any(|entry| entry.starts_with("scaler")),
        "{:?}",
        told(&forced)
    );
    // Defaults are nobody's: another may set them.
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"revisionHistoryLimit": 3}});
    let both = apply(&cluster, WEB, "two", &other).await.expect(200);
    assert!(
        told(&both)
            .contains(&r#"two Apply -: {"f:spec":{"f:revisionHistoryLimit":{}}}"#.to_owned()),
        "{:?}",
        told(&both)
    );
}

#[tokio::test]
async fn every_write_is_noted_under_the_name_of_who_wrote() {
    let cluster = Cluster::new().await;
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "kubectl/v1.33.0 (linux/amd64)"),
    ];
    let created = cluster
        .request(
            Method::POST,
            DEPLOYMENTS,
            &headers,
            web(json!(2)).to_string(),
        )
        .await
        .expect(201);
    assert!(
        told(&created)[0].starts_with(
            r#"kubectl Update -: {"f:spec":{"f:progressDeadlineSeconds":{},"f:replicas":{}"#
        ),
        "{:?}",
        told(&created)
    );
    let status = json!({"status": {"replicas": 1}});
    let uri = format!("{WEB}/status?fieldManager=controller");
    let changed = cluster.patch(&uri, "merge", &status).await.expect(200);
    assert_eq!(
        told(&changed)[0],
        r#"controller Update status: {"f:status":{"f:replicas":{}}}"#
    );
    let uri = format!("{WEB}/scale?fieldManager=scaler");
    cluster
        .patch(&uri, "merge", &json!({"spec": {"replicas": 4}}))
        .await
        .expect(200);
    let stored = cluster.get(WEB).await.expect(200);
    assert!(
        told(&stored).contains(&r#"scaler Update scale: {"f:spec":{"f:replicas":{}}}"#.to_owned()),
        "{:?}",
        told(&stored)
    );

    // A client that knows nothing of it loses nothing; one empty entry takes all away.
    let mut plain = stored.clone();
    plain["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    let same = cluster.put(WEB, &plain).await.expect(200);
    assert_eq!(same, stored);
    let reset = cluster
        .patch(WEB, "merge", &json!({"metadata": {"managedFields": [{}]}}))
        .await
        .expect(200);
    assert_eq!(told(&reset), Vec::<String>::new());
}

#[tokio::test]
async fn a_status_is_applied_through_its_subresource() {
    let cluster = Cluster::new().await;
    cluster.post(DEPLOYMENTS, &web(json!(2))).await.expect(201);
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 9}, "status": {"readyReplicas": 1, "replicas": 1}});
    let applied = apply(&cluster, &format!("{WEB}/status"), "ctl", &status)
        .await
        .expect(200);
    assert_eq!(
        (
            &applied["spec"]["replicas"],
            &applied["status"]["readyReplicas"]
        ),
        (&json!(2), &json!(1))
    );
    assert!(
        told(&applied).contains(
            &r#"ctl Apply status: {"f:status":{"f:readyReplicas":{},"f:replicas":{}}}"#.to_owned()
        ),
        "{:?}",
        told(&applied)
    );
    let none = "/apis/apps/v1/namespaces/default/deployments/none/status";
    let mut config = status.clone();
    config["metadata"]["name"] = json!("none");
    apply(&cluster, none, "ctl", &config)
        .await
        .refused(404, "NotFound");
}

#[tokio::test]
async fn what_is_no_configuration_of_the_object_is_refused() {
    let cluster = Cluster::new().await;
    let headers = [("content-type", "application/apply-patch+yaml")];
    let anonymous = cluster
        .request(Method::PATCH, A, &headers, map(json!({})).to_string())
        .await;
    let message = anonymous.refused(422, "Invalid");
    assert_eq!(
        message,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let forced = cluster
        .patch(&format!("{A}?force=true"), "merge", &json!({}))
        .await;
    let message = forced.refused(422, "Invalid");
    assert!(
        message.contains("force: Forbidden: may not be specified for non-apply patch"),
        "{message}"
    );
    let with = |change: fn(&mut Value)| {
        let mut config = map(json!({"a": "1"}));
        change(&mut config);
        config
    };
    for (config, told) in [
        (
            with(|c| c["apiVersion"] = json!("v2")),
            "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1",
        ),
        (
            with(|c| c["kind"] = json!("Secret")),
            "Incorrect kind specified",
        ),
        (
            with(|c| c["metadata"]["managedFields"] = json!([{}])),
            "metadata.managedFields must be nil",
        ),
        (
            with(|c| c["metadata"]["name"] = json!("b")),
            "does not match the name on the URL (a)",
        ),
        (
            with(|c| c["dat"] = json!({})),
            "failed to create typed patch object (default/a; v1, Kind=ConfigMap): .dat: field not declared in schema",
        ),
        (
            with(|c| c["data"]["a"] = json!(5)),
            "cannot unmarshal number",
        ),
        (json!([]), "not an object"),
    ] {
        let message = apply(&cluster, A, "me", &config)
            .await
            .refused(400, "BadRequest");
        assert!(message.contains(told), "{message}");
    }
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '1', a: '2'}\n";
    let uri = format!("{A}?fieldManager=me&fieldValidation=Strict");
    let message = cluster
        .request(Method::PATCH, &uri, &headers, twice)
        .await
        .refused(400, "BadRequest");
    assert!(message.contains(r#"duplicate field "data.a""#), "{message}");
    let stale = with(|c| c["metadata"]["resourceVersion"] = json!("1"));
    apply(&cluster, A, "me", &stale)
        .await
        .refused(404, "NotFound");
    cluster.config_map("a", json!({})).await;
    apply(&cluster, A, "me", &stale)
        .await
        .refused(409, "Conflict");
}

#[tokio::test]
async fn who_may_only_patch_creates_nothing_by_applying() {
    let mut cluster = Cluster::new().await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "patcher"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "patcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    cluster
        .post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role)
        .await
        .expect(201);
    cluster
        .post(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            &binding,
        )
        .await
        .expect(201);
    cluster.user = coracle_apiserver::UserInfo::new("jane", Vec::<String>::new());
    let message = apply(&cluster, A, "me", &map(json!({"a": "1"})))
        .await
        .refused(403, "Forbidden");
    assert!(
        message.contains("cannot create resource \"configmaps\""),
        "{message}"
    );
}
