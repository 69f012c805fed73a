//! For tests of what upgrades: an API server with one pod on one node, and clients of it over pipes in memory.

use std::sync::Arc;

use axum::{Router, body::Body};
use coracle_api::registry::Registry;
use coracle_store::MemoryStorage;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::duplex;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{Message, Role},
};
use tower::ServiceExt as _;

use super::Io;
use crate::{
    ApiServer, Options, UserInfo,
    auth::Authorizer,
    links::{Link, NodeLinks},
};

/// The API server, whose pod `p` in `default` runs on the node that `endpoint` serves.
pub(crate) struct Server {
    api: ApiServer,
    /// The pod's uid.
    pub(crate) uid: String,
}

impl Server {
    pub(crate) async fn start(endpoint: Router) -> Self {
        let nodes = NodeLinks::new();
        nodes.attach("n1", Link::Local(endpoint));
        let store: Arc<dyn coracle_store::Storage> = Arc::new(MemoryStorage::new());
        let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
        let api = ApiServer::new(Options::new(store, Registry::builtin(), authorizer, nodes));
        api.bootstrap().await.unwrap();
        let server = Self {
            api,
            uid: String::new(),
        };
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i:1"}]}});
        let request = Request::post("/api/v1/namespaces/default/pods")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(pod.to_string()))
            .unwrap();
        let mut request = request;
        request.extensions_mut().insert(admin());
        let made = server.api.router().oneshot(request).await.unwrap();
        let text = axum::body::to_bytes(made.into_body(), 1 << 20)
            .await
            .unwrap();
        let made: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
        Self { uid, ..server }
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        let (client, server) = duplex(1 << 20);
        let router = self.api.router();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(admin());
            router.clone().oneshot(request)
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service)
            .with_upgrades();
        tokio::spawn(serving);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client))
            .await
            .unwrap();
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.unwrap()
    }

    /// Upgrades a connection to SPDY.
    pub(crate) async fn spdy(&self, path: &str, protocol: &str) -> Io {
        let request = Request::post(path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "SPDY/3.1")
            .header("x-stream-protocol-version", protocol)
            .body(Body::empty())
            .unwrap();
        let response = self.send(request).await;
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["x-stream-protocol-version"], protocol);
        TokioIo::new(hyper::upgrade::on(response).await.unwrap())
    }

    /// Upgrades a connection to a WebSocket.
    pub(crate) async fn websocket(&self, path: &str, protocol: &str) -> WebSocketStream<Io> {
        let request = Request::get(path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_PROTOCOL, protocol)
            .body(Body::empty())
            .unwrap();
        let response = self.send(request).await;
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], protocol);
        let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        WebSocketStream::from_raw_socket(io, Role::Client, None).await
    }
}

fn admin() -> UserInfo {
    UserInfo::new("admin", ["system:masters"])
}

/// Says bytes on a channel.
pub(crate) async fn say(socket: &mut WebSocketStream<Io>, channel: u8, bytes: &[u8]) {
    let message = [&[channel], bytes].concat();
    socket.send(Message::Binary(message.into())).await.unwrap();
}

/// What is said next: channel and bytes; `None` when the socket is closed.
pub(crate) async fn hear(socket: &mut WebSocketStream<Io>) -> Option<(u8, Vec<u8>)> {
    let patience = std::time::Duration::from_secs(20);
    let next = tokio::time::timeout(patience, socket.next()).await.unwrap();
    match next {
        None | Some(Ok(Message::Close(_))) => None,
        Some(Ok(Message::Binary(bytes))) => Some((bytes[0], bytes[1..].to_vec())),
        other => panic!("{other:?}"),
    }
}
