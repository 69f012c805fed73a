//! Patches in the three forms, and their retries.

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, DEPLOYMENTS, deployment};

const A: &str = "/api/v1/namespaces/default/configmaps/a";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

#[tokio::test]
async fn the_three_forms_do_what_they_say() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({"x": "y"})).await;
    let merged = cluster
        .patch(A, "merge", &json!({"data": {"a": null, "b": "2"}}))
        .await
        .expect(200);
    assert_eq!(merged["data"], json!({"b": "2"}));
    let operations = json!([{"op": "test", "path": "/data/b", "value": "2"}, {"op": "add", "path": "/data/c", "value": "3"}]);
    let patched = cluster.patch(A, "json", &operations).await.expect(200);
    assert_eq!(patched["data"], json!({"b": "2", "c": "3"}));

    cluster
        .post(DEPLOYMENTS, &deployment("web"))
        .await
        .expect(201);
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "hello:v2"}, {"name": "side", "image": "side:v1"}]}}}});
    let web = cluster
        .patch(WEB, "strategic-merge", &patch)
        .await
        .expect(200);
    let images: Vec<&Value> = web["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["image"])
        .collect();
    assert_eq!(images, ["hello:v2", "side:v1"]);
    assert_eq!(web["metadata"]["generation"], 2);
}

#[tokio::test]
async fn bad_patches_are_refused() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    cluster
        .patch(A, "merge", &json!([]))
        .await
        .refused(400, "BadRequest");
    cluster
        .patch(A, "json", &json!({}))
        .await
        .refused(400, "BadRequest");
    cluster
        .patch(
            A,
            "json",
            &json!([{"op": "test", "path": "/data/a", "value": "9"}]),
        )
        .await
        .refused(422, "Invalid");
    cluster
        .patch(A, "apply", &json!({}))
        .await
        .refused(415, "UnsupportedMediaType");
    let message = cluster
        .patch(
            &format!("{A}?fieldValidation=Strict"),
            "merge",
            &json!({"dat": {}}),
        )
        .await
        .refused(400, "BadRequest");
    assert!(message.contains(r#"unknown field "dat""#), "{message}");
    cluster
        .patch(A, "merge", &json!({"data": {"a": 5}}))
        .await
        .refused(400, "BadRequest");
    cluster
        .patch(A, "merge", &json!({"metadata": {"name": "b"}}))
        .await
        .refused(400, "BadRequest");
    let none = "/api/v1/namespaces/default/configmaps/none";
    cluster
        .patch(none, "merge", &json!({}))
        .await
        .refused(404, "NotFound");
    let cbor = [("content-type", "application/apply-patch+cbor")];
    cluster
        .request(Method::PATCH, A, &cbor, "data: {}")
        .await
        .refused(415, "UnsupportedMediaType");
}

#[tokio::test]
async fn a_patch_for_a_version_insists_on_it() {
    let cluster = Cluster::new().await;
    let first = cluster.config_map("a", json!({})).await;
    let seen = &first["metadata"]["resourceVersion"];
    let patch = |n: &str| json!({"metadata": {"resourceVersion": seen}, "data": {"a": n}});
    cluster.patch(A, "merge", &patch("2")).await.expect(200);
    cluster
        .patch(A, "merge", &patch("3"))
        .await
        .refused(409, "Conflict");
    let replace = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": seen}]);
    cluster
        .patch(A, "json", &replace)
        .await
        .refused(409, "Conflict");
}

#[tokio::test]
async fn concurrent_patches_of_different_fields_all_succeed() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let patches = (0..10).map(|n| {
        let cluster = &cluster;
        async move {
            cluster
                .patch(A, "merge", &json!({"data": {format!("k{n}"): "v"}}))
                .await
                .code
        }
    });
    assert_eq!(join_all(patches).await, [200; 10]);
    let data = cluster.get(A).await.expect(200)["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 11);
}
