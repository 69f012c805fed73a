//! Connections to ports of pods for the API server: the request's body goes to the port, what comes from it is the answer's. They begin inside the pod, as
//! upstream's: what listens on its loopback alone is reached too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use coracle_network::{NetError, PodStack, TcpStream};
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio_util::{io::ReaderStream, task::AbortOnDropHandle};

use super::Endpoint;

/// Read from a pod at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Which of the pods that ever had a name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    pub(super) uid: Option<String>,
}

pub(super) async fn open(
    State(endpoint): State<Endpoint>,
    Path((namespace, pod, port)): Path<(String, String, u16)>,
    Query(which): Query<Which>,
    body: Body,
) -> Response {
    let sandbox = match endpoint.sandbox(&namespace, &pod, which.uid.as_deref()) {
        Ok(sandbox) => sandbox,
        Err(refused) => return refused.into_response(),
    };
    let Some(stack) = sandbox.network() else {
        let message = format!("pod {pod} has no network: it is not running");
        return (StatusCode::CONFLICT, message).into_response();
    };
    match connect(&stack, port).await {
        Ok(stream) => joined(stream, body).into_response(),
        Err(error) => {
            let message = format!("failed to connect to localhost:{port} inside the pod: {error}");
            (StatusCode::BAD_GATEWAY, message).into_response()
        }
    }
}

/// Connects to a port of the pod from within: on its loopback, else on its address.
async fn connect(stack: &PodStack, port: u16) -> Result<TcpStream, NetError> {
    let own: [IpAddr; 3] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::LOCALHOST.into(),
        stack.identity().ip,
    ];
    for ip in own {
        match stack.tcp_connect(SocketAddr::new(ip, port)).await {
            // Nobody there; perhaps on the next.
            Err(NetError::ConnectionRefused) => {}
            connected => return connected,
        }
    }
    Err(NetError::ConnectionRefused)
}

/// Joins a connection with the two directions of a request. Ends with the answer: when the pod has said all, or nobody wants it any more.
fn joined(stream: TcpStream, body: Body) -> Body {
    let (reader, writer) = tokio::io::split(stream);
    let up = AbortOnDropHandle::new(tokio::spawn(send(body, writer)));
    let down = ReaderStream::with_capacity(reader, PIECE_BYTES);
    Body::from_stream(down.map(move |piece| {
        let _until_the_end = &up;
        piece
    }))
}

async fn send(body: Body, mut writer: WriteHalf<TcpStream>) {
    let mut body = body.into_data_stream();
    while let Some(piece) = body.next().await {
        // The link broke, or the pod reads no more: the answer's end says so.
        let Ok(piece) = piece else { return };
        if writer.write_all(&piece).await.is_err() {
            return;
        }
    }
    // The pod may have closed before.
    let _ = writer.shutdown().await;
}
