//! Port-forwarding end to end with a node that is a router: each protocol against a port that answers and one that refuses.

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery},
    response::IntoResponse as _,
    routing::post,
};
use futures::StreamExt as _;
use http::{Request, StatusCode, header};

use crate::upgrades::{
    spdy::testing::Client,
    testing::{Server, hear, say},
    tunnel::Tunnel,
};

const PATH: &str = "/api/v1/namespaces/default/pods/p/portforward";

/// A node whose pod greets on port 80 and answers what it is told, and has nothing on other ports.
async fn server() -> Server {
    let connect = |Path((namespace, pod, port)): Path<(String, String, u16)>,
                   RawQuery(query): RawQuery,
                   body: Body| async move {
        if port != 80 {
            return (StatusCode::BAD_GATEWAY, "connection refused").into_response();
        }
        assert_eq!((namespace.as_str(), pod.as_str()), ("default", "p"));
        assert!(query.unwrap().starts_with("uid="));
        let greeting = futures::stream::iter([Ok("hello\n".into())]);
        Body::from_stream(greeting.chain(body.into_data_stream())).into_response()
    };
    let endpoint = Router::new().route("/portForward/{namespace}/{pod}/{port}", post(connect));
    Server::start(endpoint).await
}

async fn pair<S>(client: &mut Client<S>, id: u32, port: &str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let request = id.to_string();
    for (id, kind) in [(id, "error"), (id + 2, "data")] {
        let headers = [
            ("streamtype", kind),
            ("port", port),
            ("requestid", &request),
        ];
        client.open(id, &headers).await;
    }
    client.say(id, b"", true).await;
}

async fn forwards<S>(mut client: Client<S>, uid: &str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    pair(&mut client, 1, "80").await;
    client.say(3, b"and ", false).await;
    client.say(3, b"goodbye", true).await;
    let heard = client.hear(2).await;
    assert_eq!(heard[&3], b"hello\nand goodbye");
    assert!(heard[&1].is_empty());
    // The connection goes on, and what fails on it is told on its error stream.
    pair(&mut client, 5, "81").await;
    let heard = client.hear(2).await;
    let expected = format!("error forwarding port 81 to pod p, uid {uid}: connection refused");
    assert_eq!(String::from_utf8_lossy(&heard[&5]), expected);
    pair(&mut client, 9, "http").await;
    let heard = client.hear(2).await;
    assert_eq!(heard[&9], b"unable to parse port \"http\"");
}

#[tokio::test]
async fn over_spdy() {
    let server = server().await;
    let io = server.spdy(PATH, "portforward.k8s.io").await;
    forwards(Client::new(io), &server.uid).await;
}

#[tokio::test]
async fn over_spdy_in_a_websocket() {
    let server = server().await;
    let socket = server.websocket(PATH, "SPDY/3.1+portforward.k8s.io").await;
    forwards(Client::new(Tunnel::new(socket)), &server.uid).await;
}

#[tokio::test]
async fn over_the_channels_of_a_websocket() {
    let server = server().await;
    let path = format!("{PATH}?ports=80,81");
    let mut socket = server.websocket(&path, "v4.channel.k8s.io").await;
    for (channel, port) in [(0, 80), (1, 80), (2, 81), (3, 81)] {
        assert_eq!(hear(&mut socket).await, Some((channel, vec![port, 0])));
    }
    say(&mut socket, 0, b"echo").await;
    let mut heard = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    while heard[0].len() < 10 || heard[3].is_empty() {
        let (channel, bytes) = hear(&mut socket).await.unwrap();
        heard[usize::from(channel)].extend_from_slice(&bytes);
    }
    assert_eq!(heard[0], b"hello\necho");
    let refusal = String::from_utf8(heard[3].clone()).unwrap();
    assert!(refusal.ends_with("connection refused"), "{refusal}");
}

#[tokio::test]
async fn what_cannot_be_forwarded_is_refused_before_the_upgrade() {
    let server = server().await;
    let told = async |path: &str, protocol: &'static str| {
        let request = Request::get(path)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_KEY, "x")
            .header(header::SEC_WEBSOCKET_PROTOCOL, protocol)
            .body(Body::empty());
        server.send(request.unwrap()).await.status().as_u16()
    };
    let v4 = "v4.channel.k8s.io";
    assert_eq!(told(PATH, v4).await, 400, "no ports");
    assert_eq!(told(&format!("{PATH}?ports=80"), "v9").await, 400);
    assert_eq!(told(&PATH.replace("/p/", "/q/"), v4).await, 404);
    let plain = Request::post(PATH).body(Body::empty()).unwrap();
    assert_eq!(server.send(plain).await.status(), 400);
}
