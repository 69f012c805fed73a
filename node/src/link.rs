//! The node's half of its link to the API server: the node opens a connection, asks for it to be upgraded, and serves its own HTTP endpoint on it (logs,
//! stats) over HTTP/2. Nothing listens on the node for that. Connecting, TLS and reconnecting are the caller's; so is what the router answers.

use std::time::Duration;

use axum::{Router, body::Body};
use http::{Request, StatusCode, header};
use hyper::{client::conn::http1, server::conn::http2, upgrade::Upgraded};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

/// The protocol's name in the upgrade.
const PROTOCOL: &str = "coracle-link";
/// How long the API server may take to answer the request for an upgrade.
const OPENING: Duration = Duration::from_secs(10);
/// How often the API server is asked whether it is still there, and how long it has to answer. A link that is dead must be opened anew before somebody
/// misses it.
const PING: Duration = Duration::from_secs(15);
const PONG: Duration = Duration::from_secs(10);
/// Requests at once. The API server sends fewer.
const STREAMS: u32 = 256;

/// Why there is no link, or no longer. All but `Refused` with 401 and 403 are worth another try after a while.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The request for an upgrade cannot be written: the host or node name is none.
    #[error("write the request for a link to {host:?}")]
    Request {
        /// The API server's host.
        host: String,
        /// What is wrong.
        #[source]
        source: http::Error,
    },
    /// The connection broke.
    #[error("open a link")]
    Open(#[source] hyper::Error),
    /// The API server does not want the link.
    #[error("the API server refuses the link: {0}")]
    Refused(StatusCode),
    /// The API server did not answer in time.
    #[error("the API server did not answer within {} s", OPENING.as_secs())]
    Timeout,
    /// An open link broke.
    #[error("serve the link")]
    Broken(#[source] hyper::Error),
}

/// Asks the API server at `host` over `stream` (TLS with the node's certificate; ALPN `http/1.1` alone) for the link of `node`.
///
/// # Errors
/// See [`LinkError`].
pub async fn open<S>(stream: S, host: &str, node: &str) -> Result<Upgraded, LinkError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = Request::post(format!("/apis/node.coracle.dev/v1/links/{node}"))
        .header(header::HOST, host)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .body(Body::empty())
        .map_err(|source| LinkError::Request {
            host: host.to_owned(),
            source,
        })?;
    let opening = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(LinkError::Open)?;
        // Ends with the upgrade, or when this future is dropped and with it the sender.
        tokio::spawn(connection.with_upgrades());
        let response = sender
            .send_request(request)
            .await
            .map_err(LinkError::Open)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(LinkError::Refused(response.status()));
        }
        hyper::upgrade::on(response).await.map_err(LinkError::Open)
    };
    timeout(OPENING, opening)
        .await
        .map_err(|_| LinkError::Timeout)?
}

/// Serves `router` on an open link until it ends, or until `shutdown`, after which requests under way are finished.
///
/// # Errors
/// [`LinkError::Broken`].
pub async fn serve(
    upgraded: Upgraded,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> Result<(), LinkError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    let connection = builder.serve_connection(upgraded, TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown => {
            connection.as_mut().graceful_shutdown();
            // The API server may be faster to close than this side to say goodbye.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the link broke while it was closed");
            }
            Ok(())
        }
    };
    ended.map_err(LinkError::Broken)
}
