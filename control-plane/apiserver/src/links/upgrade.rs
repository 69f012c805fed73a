//! How a node opens its link: `POST /apis/node.coracle.dev/v1/links/NODE` with `Upgrade: coracle-link`. On the upgraded connection roles turn round: the
//! node serves HTTP/2 and this server is the client. The node's half is `node/src/link.rs`.

use std::time::Duration;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Request, State},
    response::Response,
    routing::post,
};
use coracle_api::status::{ApiError, Reason};
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use hyper::{
    client::conn::http2::{self, Connection, SendRequest},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::nodes::{Link, NodeLinks};
use crate::{auth::UserInfo, error};

/// The protocol's name.
pub const PROTOCOL: &str = "coracle-link";
/// The path of the links.
pub const PATH: &str = "/apis/node.coracle.dev/v1/links/{node}";
/// How long the node may take to begin HTTP/2 after the upgrade.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often the node is asked whether it is still there, and how long it has to answer. A node that lost its power is known to be gone within the sum.
const PING: Duration = Duration::from_secs(15);
const PONG: Duration = Duration::from_secs(10);
/// How much of an answer is taken in before it is read, per request and per link.
const WINDOW_BYTES: u32 = 256 * 1024;
const LINK_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The route by which nodes attach themselves to `links`. Requests must carry [`UserInfo`].
pub fn routes<S: Clone + Send + Sync + 'static>(links: NodeLinks) -> Router<S> {
    Router::new().route(PATH, post(open)).with_state(links)
}

async fn open(
    State(links): State<NodeLinks>,
    Path(node): Path<String>,
    Extension(user): Extension<UserInfo>,
    mut request: Request,
) -> Response {
    if let Err(refused) = check(&node, &user, &request) {
        return error::response(&refused);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(attach(links, node, upgrade));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}

/// Whether this is a node opening its own link, in the right way.
fn check(node: &str, user: &UserInfo, request: &Request) -> Result<(), ApiError> {
    if user.node() != Some(node) {
        let message = format!(
            "links.node.coracle.dev {node:?} is forbidden: only the node itself may open its link"
        );
        return Err(ApiError::new(Reason::Forbidden, message));
    }
    if request.version() != Version::HTTP_11 || !asks_for_link(request.headers()) {
        return Err(ApiError::bad_request(format!(
            "a link is opened over HTTP/1.1 with the headers Connection: upgrade and Upgrade: {PROTOCOL}"
        )));
    }
    Ok(())
}

fn asks_for_link(headers: &HeaderMap) -> bool {
    let lists = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(word))
    };
    lists(header::CONNECTION, "upgrade") && lists(header::UPGRADE, PROTOCOL)
}

/// Makes the upgraded connection the link to the node until it breaks or a newer one takes its place.
async fn attach(links: NodeLinks, node: String, upgrade: OnUpgrade) {
    let shaken = timeout(HANDSHAKE, async {
        let upgraded = upgrade.await?;
        handshake(upgraded).await
    });
    let (sender, connection) = match shaken.await {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(error)) => {
            tracing::warn!(node, %error, "a node's link broke before it was open");
            return;
        }
        Err(_) => {
            tracing::warn!(node, "a node's link took too long to open");
            return;
        }
    };
    let id = links.attach(node.as_str(), Link::Remote(sender));
    tracing::info!(node, "a node is connected");
    // Ends when the node goes away, or when the table has dropped this link and its last request is answered.
    let ended = connection.await;
    links.detach(&node, id);
    match ended {
        Ok(()) => tracing::info!(node, "a node's link has ended"),
        Err(error) => tracing::warn!(node, %error, "a node's link broke"),
    }
}

type LinkConnection = Connection<Upgraded, Body, TokioExecutor>;

async fn handshake(
    upgraded: Upgraded,
) -> Result<(SendRequest<Body>, LinkConnection), hyper::Error> {
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(LINK_WINDOW_BYTES)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .handshake(upgraded)
        .await
}

#[cfg(test)]
mod tests;
