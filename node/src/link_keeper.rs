//! Keeps a link to an API server of another process open: dials, speaks TLS as the node, serves, and begins anew when it breaks.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::link::{LinkError, open, serve};

/// The first pause before a link is opened again, and the longest. A restart of the API server is to be hardly noticed; a long outage is not to be made worse.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// A link that was open for so long was a good one: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(30);
/// How long dialling and the TLS handshake may take.
const DIALLING: Duration = Duration::from_secs(10);

/// An API server and what to be for it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its host name or address, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Trusts the cluster's CA and has the node's certificate. Its list of protocols is not used.
    pub tls: Arc<ClientConfig>,
}

/// Serves `router` to the API server as `node`'s endpoint until `stop`, however often the link breaks.
pub async fn keep(server: Server, node: String, router: Router, stop: CancellationToken) {
    let mut tls = ClientConfig::clone(&server.tls);
    // An upgrade is HTTP/1.1's.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(tls));
    let mut pause = PAUSE.0;
    while !stop.is_cancelled() {
        let began = tokio::time::Instant::now();
        match once(&server, &connector, &node, &router, &stop).await {
            Ok(()) => tracing::debug!(node, "the link ended"),
            Err(error) => {
                tracing::warn!(node, %error, cause = ?std::error::Error::source(&error), "no link to the API server, will try again");
            }
        }
        if began.elapsed() > GOOD {
            pause = PAUSE.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = pause.saturating_mul(2).min(PAUSE.1);
    }
}

/// Why there is no link, seen from here.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("connect to {host}:{port}")]
    Dial {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error(transparent)]
    Link(#[from] LinkError),
}

async fn once(
    server: &Server,
    connector: &TlsConnector,
    node: &str,
    router: &Router,
    stop: &CancellationToken,
) -> Result<(), KeepError> {
    let dial = async {
        let name = ServerName::try_from(server.host.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
        stream.set_nodelay(true)?;
        connector.connect(name, stream).await
    };
    let dialled = tokio::select! {
        dialled = timeout(DIALLING, dial) => dialled,
        () = stop.cancelled() => return Ok(()),
    };
    let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = dialled.map_err(|source| KeepError::Dial {
        host: server.host.clone(),
        port: server.port,
        source,
    })?;
    let link = open(stream, &server.host, node).await?;
    tracing::info!(node, host = server.host, "linked to the API server");
    serve(link, router.clone(), stop.clone().cancelled_owned()).await?;
    Ok(())
}
