//! The listener on loopback: who gets in, what hostile clients achieve, how it stops. Real TLS, real sockets, port 0.

use std::{convert::Infallible, net::SocketAddr};

use axum::{Extension, body::Body, routing::get};
use bytes::Bytes;
use coracle_pki::{Ca, Identity, Names, TokenKey, TokenRequest, client_config, server_config};
use futures::{StreamExt as _, stream};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{
    ambient::System,
    auth::UserInfo,
    links::{NodeLinks, upgrade},
};

/// No wait in these tests takes longer, or something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// A cluster's CA, token key and one running listener.
pub(crate) struct Server {
    ca: Ca,
    tokens: Arc<TokenKey>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) links: NodeLinks,
    /// Requests to `/held` wait for permits.
    gate: Arc<Semaphore>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(limits: ListenLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let ca = Ca::load_or_create(dir.path(), now).unwrap();
        let tokens = Arc::new(TokenKey::load_or_create(dir.path(), "coracle", "coracle").unwrap());
        let identity = ca.server(&Names::parse(["localhost"]), now).unwrap();
        let listen = Listen {
            tls: Arc::new(server_config(ca.cert_pem(), &identity).unwrap()),
            authenticator: Arc::new(Authenticator::new(Arc::clone(&tokens), Arc::new(System))),
            limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, links, gate) = (
            CancellationToken::new(),
            NodeLinks::new(),
            Arc::new(Semaphore::new(0)),
        );
        let router = routes(Arc::clone(&gate)).merge(upgrade::routes(links.clone()));
        let task = tokio::spawn(serve(listener, listen, router, shutdown.clone()));
        Self {
            ca,
            tokens,
            address,
            shutdown,
            links,
            gate,
            task,
        }
    }

    fn user(&self, name: &str) -> Identity {
        self.ca
            .client(name, ["dev", "ops"], HOUR, Timestamp::now())
            .unwrap()
    }

    pub(crate) fn node(&self, name: &str) -> Identity {
        self.ca.node(name, Timestamp::now()).unwrap()
    }

    fn token(&self) -> String {
        let request = TokenRequest {
            user: "tom".to_owned(),
            ttl: HOUR,
            ..TokenRequest::default()
        };
        self.tokens.sign(&request, Timestamp::now()).unwrap()
    }

    pub(crate) async fn connect(
        &self,
        identity: Option<&Identity>,
        protocol: &[u8],
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = client_config(self.ca.cert_pem(), identity, &[protocol]).unwrap();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config))
            .connect("localhost".try_into().unwrap(), stream)
            .await
    }

    async fn http1(
        &self,
        identity: Option<&Identity>,
    ) -> hyper::client::conn::http1::SendRequest<Body> {
        let stream = self.connect(identity, b"http/1.1").await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn http2(
        &self,
        identity: Option<&Identity>,
    ) -> hyper::client::conn::http2::SendRequest<Body> {
        let stream = self.connect(identity, b"h2").await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Stops the listener and waits for its end.
    async fn stop(self) {
        self.shutdown.cancel();
        in_time(self.task).await.unwrap().unwrap();
    }
}

fn routes(gate: Arc<Semaphore>) -> Router {
    let endless = || async {
        let lines =
            stream::iter([Ok::<_, Infallible>(Bytes::from("one\n"))]).chain(stream::pending());
        Body::from_stream(lines)
    };
    Router::new()
        .route(
            "/whoami",
            get(|Extension(user): Extension<UserInfo>| async move {
                format!("{} {}", user.name, user.groups.join(","))
            }),
        )
        .route("/endless", get(endless))
        .route(
            "/held",
            get(move || async move {
                gate.acquire().await.unwrap().forget();
                "done"
            }),
        )
        .route(
            "/v2/",
            get(|Extension(user): Extension<UserInfo>| async move { user.name }),
        )
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("takes too long")
}

fn request(path: &str) -> Request<Body> {
    Request::get(format!("https://localhost{path}"))
        .header(header::HOST, "localhost")
        .body(Body::empty())
        .unwrap()
}

async fn text<B>(response: http::Response<B>) -> (StatusCode, String)
where
    B: hyper::body::Body,
    B::Error: std::fmt::Debug,
{
    let status = response.status();
    let bytes = in_time(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Whether the other side closes the connection in time.
async fn closes(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset is an end too.
    let _ = in_time(stream.read_to_end(&mut read)).await;
    read
}

#[tokio::test]
async fn clients_are_known_over_both_versions_of_http() {
    let server = Server::start(ListenLimits::default()).await;
    let jane = server.user("jane");
    let expected = (
        StatusCode::OK,
        "jane dev,ops,system:authenticated".to_owned(),
    );
    let mut http1 = server.http1(Some(&jane)).await;
    assert_eq!(
        text(http1.send_request(request("/whoami")).await.unwrap()).await,
        expected
    );
    let mut http2 = server.http2(Some(&jane)).await;
    assert_eq!(
        text(http2.send_request(request("/whoami")).await.unwrap()).await,
        expected
    );
    let mut by_token = request("/whoami");
    let bearer = format!("Bearer {}", server.token());
    by_token
        .headers_mut()
        .insert(header::AUTHORIZATION, bearer.parse().unwrap());
    let mut plain = server.http1(None).await;
    let answer = text(plain.send_request(by_token).await.unwrap()).await;
    assert_eq!(
        answer,
        (StatusCode::OK, "tom system:authenticated".to_owned())
    );
    // One connection, several users: what a token says is true for its request only.
    let (status, body) = text(plain.send_request(request("/whoami")).await.unwrap()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["reason"], "Unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_known_is_told_how_to_be() {
    let server = Server::start(ListenLimits::default()).await;
    let mut plain = server.http1(None).await;
    let response = plain.send_request(request("/v2/")).await.unwrap();
    let challenge = response.headers()[header::WWW_AUTHENTICATE]
        .to_str()
        .unwrap();
    assert!(challenge.starts_with("Basic "), "{challenge}");
    let (status, body) = text(response).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["errors"][0]["code"], "UNAUTHORIZED");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_ca_gets_no_connection() {
    let server = Server::start(ListenLimits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let other = Ca::load_or_create(dir.path(), Timestamp::now()).unwrap();
    let mallory = other
        .client("root", ["system:masters"], HOUR, Timestamp::now())
        .unwrap();
    // With TLS 1.3 the client learns of it when it reads.
    if let Ok(mut stream) = server.connect(Some(&mallory), b"http/1.1").await {
        stream
            .write_all(b"GET /whoami HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(closes(&mut stream).await, b"");
    }
    server.stop().await;
}

fn impatient() -> ListenLimits {
    ListenLimits {
        handshake: Duration::from_millis(100),
        first_request: Duration::from_millis(100),
        idle: Duration::from_millis(200),
        ..ListenLimits::default()
    }
}

#[tokio::test]
async fn who_sends_nothing_or_half_a_request_is_cut_off() {
    let server = Server::start(impatient()).await;
    let jane = server.user("jane");
    // No handshake at all, and something that is none.
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(closes(&mut silent).await, b"");
    assert!(!closes(&mut plain).await.starts_with(b"HTTP"));
    // No request, half a request, half an HTTP/2 preface, and HTTP/2 without any request.
    for (protocol, sent) in [
        (&b"http/1.1"[..], &b""[..]),
        (b"http/1.1", b"GET /whoami HTTP/1.1\r\nhost: x\r\n"),
        (b"h2", b"PRI * HTT"),
        (
            b"h2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ),
    ] {
        let mut stream = server.connect(Some(&jane), protocol).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let read = closes(&mut stream).await;
        assert!(!read.starts_with(b"HTTP/1.1 200"), "{sent:?}");
    }
    // A connection that was used and then is idle.
    let mut stream = server.connect(Some(&jane), b"http/1.1").await.unwrap();
    stream
        .write_all(b"GET /whoami HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(closes(&mut stream).await.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_request_under_way_is_not_idle() {
    let server = Server::start(impatient()).await;
    let jane = server.user("jane");
    let mut slow = server.http1(Some(&jane)).await;
    let held = tokio::spawn(async move { slow.send_request(request("/held")).await.map(drop) });
    // Another connection goes through its whole idle time meanwhile.
    let mut other = server.connect(Some(&jane), b"http/1.1").await.unwrap();
    for _ in 0..3 {
        closes(&mut other).await;
        other = server.connect(Some(&jane), b"http/1.1").await.unwrap();
    }
    assert!(!held.is_finished());
    server.gate.add_permits(1);
    in_time(held).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn thousands_of_idle_connections_make_room() {
    let server = Server::start(ListenLimits {
        connections: 8,
        ..ListenLimits::default()
    })
    .await;
    let jane = server.user("jane");
    let mut busy = server.http1(Some(&jane)).await;
    let held =
        tokio::spawn(async move { text(busy.send_request(request("/held")).await.unwrap()).await });
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut http = server.http1(Some(&jane)).await;
    let (status, _) = text(
        in_time(http.send_request(request("/whoami")))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    // Those first in have made room for the others, but not the one with a request under way.
    assert_eq!(closes(&mut idle[0]).await, b"");
    server.gate.add_permits(1);
    assert_eq!(in_time(held).await.unwrap().1, "done");
    server.stop().await;
}

#[tokio::test]
async fn shutdown_ends_watches_cleanly_and_finishes_requests() {
    let server = Server::start(ListenLimits::default()).await;
    let jane = server.user("jane");
    let mut watches = Vec::new();
    for version in [1, 2] {
        let watch = request("/endless?watch=true");
        let response = if version == 1 {
            server
                .http1(Some(&jane))
                .await
                .send_request(watch)
                .await
                .unwrap()
        } else {
            server
                .http2(Some(&jane))
                .await
                .send_request(watch)
                .await
                .unwrap()
        };
        let mut body = response.into_body();
        let first = in_time(body.frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "one\n");
        watches.push(body);
    }
    let mut slow = server.http2(Some(&jane)).await;
    let held = slow.send_request(request("/held"));
    let idle = server.http1(Some(&jane)).await;
    // The request is at the server once its answer to a later one is here.
    let later = slow.clone().send_request(request("/whoami")).await.unwrap();
    assert_eq!(text(later).await.0, StatusCode::OK);
    server.shutdown.cancel();
    for body in watches {
        let rest = in_time(body.collect())
            .await
            .expect("the end, and no error");
        assert_eq!(rest.to_bytes(), "");
    }
    server.gate.add_permits(1);
    assert_eq!(text(in_time(held).await.unwrap()).await.1, "done");
    let address = server.address;
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let server = Server::start(ListenLimits {
        drain: Duration::from_millis(100),
        ..ListenLimits::default()
    })
    .await;
    let mut slow = server.http1(Some(&server.user("jane"))).await;
    let held = tokio::spawn(async move { slow.send_request(request("/held")).await.map(drop) });
    let mut other = server.http1(Some(&server.user("jane"))).await;
    text(other.send_request(request("/whoami")).await.unwrap()).await;
    server.stop().await;
    assert!(in_time(held).await.unwrap().is_err());
}
