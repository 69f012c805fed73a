//! Refusals of every sort are Status objects, and whoever is nobody is told so.

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use coracle_apiserver::UserInfo;

use crate::cluster::{CONFIG_MAPS, Cluster, PODS, pod};

#[tokio::test]
async fn what_is_not_served_is_not_found() {
    let cluster = Cluster::new().await;
    for uri in [
        "/",
        "/nope",
        "/api/v2",
        "/api/v1/nopes",
        "/apis/nope.io/v1",
        "/apis/apps/v9/deployments",
        "/api/v1/namespaces/default/configmaps/a/nope",
        "/api/v1/namespaces/default/nodes",
        "/openapi/v3/apis/nope",
        "/livez/nope",
        "/api/v1/namespaces/default/configmaps/a/b/c/d",
    ] {
        let message = cluster.get(uri).await.refused(404, "NotFound");
        assert_eq!(
            message, "the server could not find the requested resource",
            "{uri}"
        );
    }
    cluster
        .get("/api/v1/namespaces/%2e%2e/configmaps")
        .await
        .refused(400, "BadRequest");
}

#[tokio::test]
async fn methods_that_do_not_exist_are_not_allowed() {
    let cluster = Cluster::new().await;
    cluster
        .post("/version", &json!({}))
        .await
        .refused(405, "MethodNotAllowed");
    cluster
        .post(&format!("{CONFIG_MAPS}/a"), &json!({}))
        .await
        .refused(405, "MethodNotAllowed");
    let options = cluster
        .request(Method::OPTIONS, CONFIG_MAPS, &[], Body::empty())
        .await;
    options.refused(405, "MethodNotAllowed");
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    cluster.get(reviews).await.refused(405, "MethodNotAllowed");
}

#[tokio::test]
async fn nobody_is_unauthorized_everywhere() {
    let cluster = Cluster::new().await;
    for uri in [
        CONFIG_MAPS,
        "/healthz",
        "/metrics",
        "/version",
        "/apis",
        "/openapi/v3",
        "/v2/",
        "/nope",
    ] {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let response = cluster.server.router().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 401, "{uri}");
        assert!(response.headers().contains_key("www-authenticate"));
        let status: Value =
            serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes())
                .unwrap();
        assert_eq!(
            (&status["reason"], &status["message"]),
            (&json!("Unauthorized"), &json!("Unauthorized"))
        );
    }
}

#[tokio::test]
async fn somebody_without_rights_is_forbidden() {
    let mut cluster = Cluster::new().await;
    cluster.user = UserInfo::new("jane", Vec::<String>::new());
    let refused = cluster.get(CONFIG_MAPS).await;
    let message = refused.refused(403, "Forbidden");
    assert_eq!(
        message,
        r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default""#
    );
    assert_eq!(refused.json()["details"], json!({"kind": "configmaps"}));
    cluster.get("/metrics").await.refused(403, "Forbidden");
}

#[tokio::test]
async fn a_role_lets_its_subjects_in_and_no_further() {
    let mut cluster = Cluster::new().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let reader = json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]});
    cluster
        .post(&format!("{rbac}/roles"), &reader)
        .await
        .expect(201);
    let author = json!({"metadata": {"name": "author"}, "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create", "update", "get"]}]});
    cluster
        .post(&format!("{rbac}/roles"), &author)
        .await
        .expect(201);
    for role in ["reader", "author"] {
        let binding = json!({"metadata": {"name": role}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
        cluster
            .post(&format!("{rbac}/rolebindings"), &binding)
            .await
            .expect(201);
    }
    cluster.user = UserInfo::new("jane", Vec::<String>::new());
    cluster.get(CONFIG_MAPS).await.expect(200);
    cluster
        .get("/api/v1/configmaps")
        .await
        .refused(403, "Forbidden");
    cluster
        .delete(&format!("{CONFIG_MAPS}/a"))
        .await
        .refused(403, "Forbidden");
    let mut more = reader.clone();
    more["metadata"]["name"] = json!("more");
    cluster
        .post(&format!("{rbac}/roles"), &more)
        .await
        .expect(201);
    more["rules"][0]["verbs"] = json!(["get", "list", "delete"]);
    let message = cluster
        .put(&format!("{rbac}/roles/more"), &more)
        .await
        .refused(403, "Forbidden");
    assert!(
        message.contains("attempting to grant RBAC permissions not currently held"),
        "{message}"
    );
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let rules = cluster
        .post(reviews, &json!({"spec": {"namespace": "default"}}))
        .await
        .expect(201);
    let rules = rules["status"]["resourceRules"].as_array().unwrap();
    assert!(
        rules
            .iter()
            .any(|rule| rule["resources"] == json!(["configmaps"])
                && rule["verbs"] == json!(["get", "list"]))
    );
}

#[tokio::test]
async fn a_node_writes_only_its_own_status() {
    let mut cluster = Cluster::new().await;
    for node in ["n1", "n2"] {
        let object = json!({"metadata": {"name": node}, "status": {"phase": "Running"}});
        let created = cluster.post("/api/v1/nodes", &object).await.expect(201);
        assert_eq!(
            created["status"]["phase"], "Running",
            "nodes register with their status"
        );
    }
    cluster.user = UserInfo::new("system:node:n1", ["system:nodes"]);
    let status = json!({"status": {"nodeInfo": {"kernelVersion": "x"}}});
    cluster
        .patch("/api/v1/nodes/n1/status", "merge", &status)
        .await
        .expect(200);
    cluster
        .patch("/api/v1/nodes/n2/status", "merge", &status)
        .await
        .refused(403, "Forbidden");
}

#[tokio::test]
async fn a_node_that_reports_on_a_deleted_pod_is_told_that_it_is_gone() {
    let mut cluster = Cluster::new().await;
    cluster.post(PODS, &pod("unbound")).await.expect(201);
    cluster.user = UserInfo::new("system:node:n1", ["system:nodes"]);
    let status = json!({"status": {"phase": "Succeeded"}});
    let path = |name: &str| format!("{PODS}/{name}/status");
    let gone = cluster
        .patch(&path("gone"), "strategic-merge", &status)
        .await;
    gone.refused(404, "NotFound");
    let unbound = cluster
        .patch(&path("unbound"), "strategic-merge", &status)
        .await;
    let message = unbound.refused(403, "Forbidden");
    assert!(message.contains("spec.nodeName set to itself"), "{message}");
}

#[tokio::test]
async fn a_panicking_handler_is_an_internal_error() {
    async fn broken() -> &'static str {
        panic!("a test of the gate")
    }
    let cluster = Cluster::with(|options| {
        options.images = axum::Router::new().route("/v2/", axum::routing::get(broken));
    })
    .await;
    let message = cluster.get("/v2/").await.refused(500, "InternalError");
    assert!(
        message.contains("This request caused apiserver to panic. Look in the logs for details."),
        "{message}"
    );
    cluster.get("/version").await.expect(200);
}

#[tokio::test]
async fn the_image_registry_is_mounted_whole() {
    let images = axum::Router::new()
        .route("/v2/", axum::routing::get(async || "{}"))
        .route(
            "/v2/{*rest}",
            axum::routing::get(async |uri: http::Uri| uri.path().to_owned()),
        );
    let cluster = Cluster::with(|options| options.images = images).await;
    assert_eq!(cluster.get("/v2/").await.bytes, "{}");
    assert_eq!(
        cluster.get("/v2/a/b/tags/list").await.bytes,
        "/v2/a/b/tags/list"
    );
}
