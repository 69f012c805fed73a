//! Bounds on what one client may have going on.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use coracle_apiserver::limits::Limits;
use futures::stream;
use http::Method;
use serde_json::json;

use crate::cluster::{CONFIG_MAPS, Cluster, config_map};

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_read() {
    let cluster = Cluster::new().await;
    let endless =
        stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65536])));
    let answer = cluster
        .request(Method::POST, CONFIG_MAPS, &[], Body::from_stream(endless))
        .await;
    let message = answer.refused(413, "RequestEntityTooLarge");
    assert!(message.contains("limit is 3145728"), "{message}");
    let mut object = config_map("a", json!({}));
    object["data"]["big"] = json!("x".repeat(2 << 20));
    let refused = cluster.post(CONFIG_MAPS, &object).await;
    assert!([413, 422].contains(&refused.code), "{}", refused.code);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let cluster = Cluster::with_limits(Limits {
        request_time: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = cluster.request(Method::POST, CONFIG_MAPS, &[], never).await;
    let message = answer.refused(504, "Timeout");
    assert!(
        message.contains("the server was unable to return a response in the time allotted"),
        "{message}"
    );
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn who_asks_too_much_at_once_is_told_to_come_back() {
    let cluster = Cluster::with_limits(Limits {
        in_flight_per_user: 1,
        waiting_per_user: 0,
        ..Limits::default()
    })
    .await;
    let never = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let first = cluster.request(Method::POST, CONFIG_MAPS, &[], never());
    let mut first = std::pin::pin!(first);
    assert!(futures::poll!(first.as_mut()).is_pending());
    let second = cluster.get(CONFIG_MAPS).await;
    second.refused(429, "TooManyRequests");
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(second.json()["details"]["retryAfterSeconds"], 1);
}

#[tokio::test]
async fn watches_are_counted_and_given_back() {
    let cluster = Cluster::with_limits(Limits {
        streams_per_user: 2,
        ..Limits::default()
    })
    .await;
    let uri = format!("{CONFIG_MAPS}?watch=1");
    let first = cluster.watch(&uri).await;
    let _second = cluster.watch(&uri).await;
    cluster.get(&uri).await.refused(429, "TooManyRequests");
    drop(first);
    let _third = cluster.watch(&uri).await;
}

#[tokio::test]
async fn requests_are_counted_by_bounded_labels() {
    let cluster = Cluster::new().await;
    cluster.get(CONFIG_MAPS).await.expect(200);
    cluster
        .get("/api/v1/namespaces/default/madeup/x")
        .await
        .refused(404, "NotFound");
    let text = String::from_utf8(cluster.get("/metrics").await.bytes.to_vec()).unwrap();
    assert!(text.contains(r#"coracle_apiserver_requests_total{verb="list",resource="configmaps",subresource="-",code="200"} 1"#), "{text}");
    assert!(text.contains(r#"coracle_apiserver_requests_total{verb="get",resource="-",subresource="-",code="404"} 1"#), "{text}");
    assert!(!text.contains("madeup"));
}
