//! The scale subresource.

use serde_json::json;

use crate::cluster::{Cluster, DEPLOYMENTS, deployment, version};

const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const SCALE: &str = "/apis/apps/v1/namespaces/default/deployments/web/scale";

#[tokio::test]
async fn a_scale_shows_and_sets_replicas() {
    let cluster = Cluster::new().await;
    let web = cluster
        .post(DEPLOYMENTS, &deployment("web"))
        .await
        .expect(201);
    let scale = cluster.get(SCALE).await.expect(200);
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&json!("Scale"), &json!("autoscaling/v1"))
    );
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    assert_eq!(
        scale["status"],
        json!({"replicas": 0, "selector": "app=web"})
    );
    assert_eq!(scale["metadata"]["uid"], web["metadata"]["uid"]);
    assert_eq!(version(&scale), version(&web));

    let patched = cluster
        .patch(SCALE, "merge", &json!({"spec": {"replicas": 5}}))
        .await
        .expect(200);
    assert_eq!(patched["spec"]["replicas"], 5);
    let web = cluster.get(WEB).await.expect(200);
    assert_eq!(
        (&web["spec"]["replicas"], &web["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
    assert_eq!(version(&patched), version(&web));

    let mut stale = scale;
    stale["spec"]["replicas"] = json!(1);
    cluster.put(SCALE, &stale).await.refused(409, "Conflict");
    stale["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    assert_eq!(
        cluster.put(SCALE, &stale).await.expect(200)["spec"]["replicas"],
        1
    );
}

#[tokio::test]
async fn nonsense_is_refused() {
    let cluster = Cluster::new().await;
    cluster
        .post(DEPLOYMENTS, &deployment("web"))
        .await
        .expect(201);
    let message = cluster
        .patch(SCALE, "merge", &json!({"spec": {"replicas": -1}}))
        .await
        .refused(422, "Invalid");
    assert_eq!(
        message,
        r#"Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#
    );
    cluster
        .patch(SCALE, "merge", &json!({"spec": {"replicas": "x"}}))
        .await
        .refused(400, "BadRequest");
    cluster
        .put(SCALE, &json!({"kind": "Deployment"}))
        .await
        .refused(400, "BadRequest");
    cluster
        .put(SCALE, &json!({"metadata": {"name": "other"}}))
        .await
        .refused(400, "BadRequest");
    cluster.delete(SCALE).await.refused(405, "MethodNotAllowed");
    cluster
        .get("/api/v1/namespaces/default/pods/p/scale")
        .await
        .refused(404, "NotFound");
}
