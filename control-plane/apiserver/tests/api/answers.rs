//! Refusals of every sort are Status objects, and whoever is nobody is told so.

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use coracle_apiserver::UserInfo;

use crate::cluster::{CONFIG_MAPS, Cluster};

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
