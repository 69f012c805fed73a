//! Commands end to end with a node that is a router: each protocol, with input, output and an exit code.

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery},
    response::IntoResponse as _,
    routing::post,
};
use coracle_api::channels::{CLOSE, Decoder, ERROR, RESIZE, STDERR, STDIN, STDOUT, encode, ended};
use futures::StreamExt as _;
use http::{Request, header};

use super::*;
use crate::upgrades::{
    spdy::testing::Client,
    testing::{Server, hear, say},
};

const PATH: &str = "/api/v1/namespaces/default/pods/p/exec";

/// A node that runs one command: it says what it was asked, repeats its input, and exits with 3 when that ends.
async fn server() -> Server {
    let run = |Path((namespace, pod, container)): Path<(String, String, String)>,
               RawQuery(query): RawQuery,
               body: Body| async move {
        let query = query.unwrap();
        if query.contains("command=refused") {
            return (StatusCode::NOT_FOUND, "container not found (\"c\")").into_response();
        }
        let (_, asked) = query.split_once('&').unwrap();
        let heading = format!("{namespace}/{pod}/{container}?{asked}\n");
        let heading = futures::stream::iter([Ok::<_, axum::Error>(
            encode(STDOUT, heading.as_bytes()).into(),
        )]);
        let mut decoder = Decoder::default();
        let answers = body.into_data_stream().map(move |bytes| {
            decoder.feed(&bytes?);
            let mut said = Vec::new();
            while let Some((channel, bytes)) = decoder.next_frame().unwrap() {
                match channel {
                    STDIN => said.extend(encode(STDOUT, bytes)),
                    RESIZE => said.extend(encode(STDERR, bytes)),
                    CLOSE => said.extend(encode(ERROR, ended(3).to_string().as_bytes())),
                    other => panic!("channel {other}"),
                }
            }
            Ok(said.into())
        });
        // As a node does: the answer ends with the command.
        let ends = |bytes: &Result<axum::body::Bytes, axum::Error>| {
            bytes
                .as_ref()
                .is_ok_and(|bytes| bytes.first() == Some(&ERROR))
        };
        let answers = futures::stream::unfold(
            Some(Box::pin(heading.chain(answers))),
            move |answers| async move {
                let mut answers = answers?;
                let next = answers.next().await?;
                let goes_on = !ends(&next);
                Some((next, goes_on.then_some(answers)))
            },
        );
        Body::from_stream(answers).into_response()
    };
    Server::start(Router::new().route("/exec/{namespace}/{pod}/{container}", post(run))).await
}

#[tokio::test]
async fn over_the_channels_of_a_websocket() {
    let server = server().await;
    let path = format!("{PATH}?command=cat&command=-n+x&stdin=true&stdout=true&stderr=true");
    let mut socket = server.websocket(&path, "v5.channel.k8s.io").await;
    for channel in [STDOUT, STDERR, ERROR] {
        assert_eq!(hear(&mut socket).await, Some((channel, Vec::new())));
    }
    let asked =
        "default/p/c?stdin=true&stdout=true&stderr=true&tty=false&command=cat&command=-n+x\n";
    assert_eq!(hear(&mut socket).await, Some((STDOUT, asked.into())));
    say(&mut socket, STDIN, b"hello").await;
    assert_eq!(hear(&mut socket).await, Some((STDOUT, b"hello".to_vec())));
    say(&mut socket, RESIZE, b"{}").await;
    assert_eq!(hear(&mut socket).await, Some((STDERR, b"{}".to_vec())));
    // Channels that are not the client's mean nothing.
    say(&mut socket, STDOUT, b"x").await;
    say(&mut socket, CLOSE, &[STDIN]).await;
    let (channel, status) = hear(&mut socket).await.unwrap();
    assert_eq!(
        (channel, serde_json::from_slice::<Value>(&status).unwrap()),
        (ERROR, ended(3))
    );
    assert_eq!(hear(&mut socket).await, None);
}

#[tokio::test]
async fn over_spdy() {
    let server = server().await;
    let path = format!("{PATH}?command=cat&container=c&stdin=true&stdout=true&stderr=true");
    let mut client = Client::new(server.spdy(&path, "v4.channel.k8s.io").await);
    for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
        client.open(id, &[("streamtype", kind)]).await;
    }
    client.say(3, b"hello", true).await;
    let heard = client.hear(3).await;
    let said = String::from_utf8_lossy(&heard[&5]);
    assert!(said.ends_with("tty=false&command=cat\nhello"), "{said}");
    assert_eq!(
        serde_json::from_slice::<Value>(&heard[&1]).unwrap(),
        ended(3)
    );
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_the_upgrade() {
    let server = server().await;
    let told = async |query: &str, upgrade: bool| {
        let mut request = Request::get(format!("{PATH}?{query}"));
        if upgrade {
            request = request
                .header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_KEY, "x")
                .header(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io");
        }
        let response = server.send(request.body(Body::empty()).unwrap()).await;
        let code = response.status().as_u16();
        let body = axum::body::to_bytes(Body::new(response.into_body()), 1 << 20)
            .await
            .unwrap();
        let status: Value = serde_json::from_slice(&body).unwrap();
        (code, status["message"].as_str().unwrap().to_owned())
    };
    let refused = (404, "container not found (\"c\")".to_owned());
    assert_eq!(told("command=refused", true).await, refused);
    assert_eq!(
        told("command=ls&container=x", true).await,
        (400, "container x is not valid for pod p".to_owned())
    );
    assert_eq!(told("", true).await.0, 400);
    assert_eq!(
        told("command=ls&stdout=false&stderr=false", true).await.0,
        400
    );
    assert_eq!(
        told("command=ls", false).await,
        (400, "Upgrade request required".to_owned())
    );
}
