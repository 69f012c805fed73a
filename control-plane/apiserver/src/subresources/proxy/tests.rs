//! Proxied requests end to end, with a node that is a router whose pod has an HTTP server.

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::IntoResponse as _,
    routing::{get, post},
};
use http::Request;
use http_body_util::BodyExt as _;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::io::duplex;
use tokio_util::io::ReaderStream;

use super::*;
use crate::upgrades::testing::Server;

const POD: &str = "/api/v1/namespaces/default/pods";

/// What the pod serves.
fn site() -> Router {
    Router::new()
        .route("/", get(|| async { "root" }))
        .route(
            "/moved",
            get(|| async { (StatusCode::FOUND, [("location", "/elsewhere")]) }),
        )
        .fallback(|request: Request<Body>| async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let header = |name: &str| {
                parts
                    .headers
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
            };
            format!(
                "{} {} {:?} {:?} {}",
                parts.method,
                parts.uri,
                header("authorization"),
                header("x-kept"),
                String::from_utf8_lossy(&bytes)
            )
        })
}

/// A node whose pod has the site on port 80.
fn node() -> Router {
    let connect = |Path((_, _, port)): Path<(String, String, u16)>,
                   State(site): State<Router>,
                   body: Body| async move {
        if port != 80 {
            return (StatusCode::BAD_GATEWAY, "connection refused").into_response();
        }
        let (near, far) = duplex(1 << 16);
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), TowerToHyperService::new(site));
        tokio::spawn(serving);
        let (reader, mut writer) = tokio::io::split(near);
        tokio::spawn(async move {
            let mut body = tokio_util::io::StreamReader::new(futures::StreamExt::map(
                body.into_data_stream(),
                |piece| piece.map_err(std::io::Error::other),
            ));
            let _ = tokio::io::copy(&mut body, &mut writer).await;
        });
        Body::from_stream(ReaderStream::new(reader)).into_response()
    };
    Router::new()
        .route("/portForward/{namespace}/{pod}/{port}", post(connect))
        .with_state(site())
}

async fn told(
    server: &Server,
    request: http::request::Builder,
    body: &'static str,
) -> (u16, String, HeaderMap) {
    let response = server.send(request.body(Body::from(body)).unwrap()).await;
    let (parts, body) = response.into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    (
        parts.status.as_u16(),
        String::from_utf8_lossy(&text).into_owned(),
        parts.headers,
    )
}

#[tokio::test]
async fn requests_reach_the_pods_server_as_they_were_sent() {
    let server = Server::start(node()).await;
    let request = Request::put(format!("{POD}/p/proxy/a%2Fb//c/?x=1&y=%20"))
        .header("authorization", "Bearer secret")
        .header("x-kept", "kept");
    let (code, text, _) = told(&server, request, "body").await;
    assert_eq!(
        (code, text.as_str()),
        (200, "PUT /a%2Fb//c/?x=1&y=%20 None Some(\"kept\") body")
    );
    let (code, text, _) = told(&server, Request::get(format!("{POD}/http:p:80/proxy/")), "").await;
    assert_eq!((code, text.as_str()), (200, "root"));
    let (code, _, headers) = told(&server, Request::get(format!("{POD}/p/proxy?q")), "").await;
    assert_eq!(
        (code, &headers["location"]),
        (
            301,
            &HeaderValue::from_static("/api/v1/namespaces/default/pods/p/proxy/?q")
        )
    );
    let (_, _, headers) = told(&server, Request::get(format!("{POD}/p/proxy/moved")), "").await;
    assert_eq!(
        headers["location"],
        "/api/v1/namespaces/default/pods/p/proxy/elsewhere"
    );
}

#[tokio::test]
async fn who_cannot_be_reached_is_told_apart() {
    let server = Server::start(node()).await;
    let (code, text, _) = told(&server, Request::get(format!("{POD}/p:81/proxy/")), "").await;
    assert_eq!(code, 503);
    assert!(
        text.contains("error trying to reach service: connection refused"),
        "{text}"
    );
    for (path, expected) in [
        ("q", 404),
        ("p:http", 400),
        ("https:p:80", 400),
        ("a:b:c:d", 400),
    ] {
        let (code, text, _) = told(&server, Request::get(format!("{POD}/{path}/proxy/")), "").await;
        assert_eq!(code, expected, "{path}: {text}");
    }
}
