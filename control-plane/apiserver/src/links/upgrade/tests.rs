//! Both halves of a link over the real listener: the node's half is the node crate's own file.

use axum::{body::Bytes, extract::Query as Options, routing::get};
use futures::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::*;
use crate::{
    links::{LinkError, LinkLimits},
    listen::{
        ListenLimits,
        tests::{Server, in_time},
    },
};

#[path = "../../../../../node/src/link.rs"]
mod node_half;

/// What the node serves: an echo and a log that never ends.
fn endpoint(name: &'static str) -> Router {
    #[derive(serde::Deserialize)]
    struct Wanted {
        lines: usize,
    }
    Router::new()
        .route("/name", get(move || async move { name }))
        .route(
            "/log",
            get(|Options(wanted): Options<Wanted>| async move {
                let lines = stream::repeat_with(|| {
                    Ok::<_, std::convert::Infallible>(Bytes::from("line\n"))
                });
                Body::from_stream(lines.take(wanted.lines).chain(stream::pending()))
            }),
        )
        .route("/never", get(std::future::pending::<&str>))
}

/// Opens the link of node `name` and serves it until the sender is used or dropped.
async fn open_link(
    server: &Server,
    name: &'static str,
) -> (
    oneshot::Sender<()>,
    tokio::task::JoinHandle<Result<(), node_half::LinkError>>,
) {
    let identity = server.node(name);
    let stream = server.connect(Some(&identity), b"http/1.1").await.unwrap();
    let upgraded = in_time(node_half::open(stream, "localhost", name))
        .await
        .unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(node_half::serve(upgraded, endpoint(name), stopped));
    (stop, task)
}

async fn until(links: &NodeLinks, node: &str, attached: bool) {
    in_time(async {
        while links.is_attached(node) != attached {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn ask(uri: &str) -> http::Request<Body> {
    http::Request::get(uri).body(Body::empty()).unwrap()
}

async fn name_of(links: &NodeLinks, node: &str) -> Result<String, LinkError> {
    let response = in_time(links.call(node, ask("/name"))).await?;
    let bytes = in_time(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_node_is_reached_over_the_link_it_opened() {
    let server = Server::start(ListenLimits::default()).await;
    let (_one, _) = open_link(&server, "n1").await;
    let (two, ended) = open_link(&server, "n2").await;
    until(&server.links, "n1", true).await;
    until(&server.links, "n2", true).await;
    assert_eq!(name_of(&server.links, "n1").await.unwrap(), "n1");
    assert_eq!(name_of(&server.links, "n2").await.unwrap(), "n2");
    let log = server.links.call("n1", ask("/log?lines=3")).await.unwrap();
    let mut lines = log.into_body().into_data_stream();
    for _ in 0..3 {
        assert_eq!(in_time(lines.next()).await.unwrap().unwrap(), "line\n");
    }
    two.send(()).unwrap();
    in_time(ended).await.unwrap().unwrap();
    until(&server.links, "n2", false).await;
    let error = name_of(&server.links, "n2").await.unwrap_err();
    assert_eq!(error.to_string(), r#"node "n2" is not connected"#);
    assert_eq!(error.code(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_newer_link_takes_over_and_the_older_finishes_what_it_has() {
    let server = Server::start(ListenLimits::default()).await;
    let (_old, old_ended) = open_link(&server, "n1").await;
    until(&server.links, "n1", true).await;
    let log = server
        .links
        .call("n1", ask("/log?lines=1000000"))
        .await
        .unwrap();
    let mut lines = log.into_body().into_data_stream();
    in_time(lines.next()).await.unwrap().unwrap();
    let (new, _) = open_link(&server, "n1").await;
    // The old link's last request keeps it open; without it it ends.
    in_time(lines.next()).await.unwrap().unwrap();
    drop(lines);
    // Cleanly, or because the other side was faster to close.
    in_time(old_ended).await.unwrap().ok();
    assert_eq!(name_of(&server.links, "n1").await.unwrap(), "n1");
    drop(new);
    until(&server.links, "n1", false).await;
}

#[tokio::test]
async fn a_node_that_vanishes_fails_its_requests() {
    let server = Server::start(ListenLimits::default()).await;
    let (_stop, task) = open_link(&server, "n1").await;
    until(&server.links, "n1", true).await;
    let links = server.links.clone();
    let waiting = tokio::spawn(async move { links.call("n1", ask("/never")).await.map(drop) });
    // Another answer shows that the first request is there.
    name_of(&server.links, "n1").await.unwrap();
    task.abort();
    let error = in_time(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Broken { .. }), "{error}");
    assert_eq!(error.code(), StatusCode::SERVICE_UNAVAILABLE);
    until(&server.links, "n1", false).await;
}

#[tokio::test]
async fn nobody_opens_the_link_of_another() {
    let server = Server::start(ListenLimits::default()).await;
    let identity = server.node("n1");
    for node in ["n2", "n1%20", "N1"] {
        let stream = server.connect(Some(&identity), b"http/1.1").await.unwrap();
        let error = in_time(node_half::open(stream, "localhost", node))
            .await
            .unwrap_err();
        assert!(
            matches!(error, node_half::LinkError::Refused(StatusCode::FORBIDDEN)),
            "{error}"
        );
    }
    let stream = server.connect(None, b"http/1.1").await.unwrap();
    let error = in_time(node_half::open(stream, "localhost", "n1"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            node_half::LinkError::Refused(StatusCode::UNAUTHORIZED)
        ),
        "{error}"
    );
    assert!(!server.links.is_attached("n1") && !server.links.is_attached("n2"));
}

#[test]
fn an_upgrade_must_be_asked_for_as_such() {
    let user = UserInfo::new("system:node:n1", [crate::auth::user::NODES]);
    let told = |connection: &str, upgrade: &str, version| {
        let request = http::Request::post("/")
            .version(version)
            .header(header::CONNECTION, connection)
            .header(header::UPGRADE, upgrade)
            .body(Body::empty())
            .unwrap();
        check("n1", &user, &request).map_err(|error| error.code)
    };
    assert_eq!(
        told(
            "keep-alive, Upgrade",
            "websocket, Coracle-Link",
            Version::HTTP_11
        ),
        Ok(())
    );
    assert_eq!(told("keep-alive", PROTOCOL, Version::HTTP_11), Err(400));
    assert_eq!(told("upgrade", "websocket", Version::HTTP_11), Err(400));
    assert_eq!(told("upgrade", PROTOCOL, Version::HTTP_2), Err(400));
}

#[tokio::test]
async fn a_local_node_is_called_directly_and_bounded() {
    let links = NodeLinks::with_limits(LinkLimits {
        requests_per_node: 4,
        answer_time: std::time::Duration::from_millis(50),
    });
    links.attach("n1", Link::Local(endpoint("n1")));
    assert_eq!(name_of(&links, "n1").await.unwrap(), "n1");
    let error = links.call("n1", ask("/never")).await.map(drop).unwrap_err();
    assert_eq!(error.code(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(error.to_string(), r#"node "n1" did not answer within 50ms"#);
    let mut open = Vec::new();
    let refused = loop {
        match links.call("n1", ask("/log?lines=1")).await {
            Ok(response) => open.push(response),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, LinkError::Busy { .. }), "{refused}");
    assert_eq!(open.len(), 4);
    open.pop();
    assert_eq!(name_of(&links, "n1").await.unwrap(), "n1");
}
