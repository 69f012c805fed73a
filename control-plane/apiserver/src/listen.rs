//! The listener: TLS, HTTP/1.1 and HTTP/2, who is on the other end. Bounds what clients may hold on to: connections, handshakes, half-sent requests, idleness.
//! Knows nothing about the API; a request without a known user is answered here with 401 and goes no further.
//!
//! [`connections`] counts and bounds connections, [`connection`] serves one, [`requests`] looks at each of its requests.

mod connection;
mod connections;
mod requests;

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::connections::Connections;
use crate::auth::Authenticator;

/// The bounds.
#[derive(Clone, Debug)]
pub struct ListenLimits {
    /// Connections at once. When all are taken, the one that has been idle longest makes room; when none is idle, the new one is closed. Each
    /// costs about 30 KiB, and a file descriptor.
    pub connections: usize,
    /// How long the TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may take to send its first request. Half is hard on mobile links; double only helps those who never will.
    pub first_request: Duration,
    /// How long a connection may be idle, or take to send the head of a request. Longer than the 90 s clients keep idle connections for, so that they
    /// close first and no request is lost to a connection just closed.
    pub idle: Duration,
    /// HTTP/2 requests at once per connection.
    pub streams: u32,
    /// How often an HTTP/2 client is asked whether it is still there; it has as long again to answer.
    pub ping: Duration,
    /// How long requests under way may take after shutdown has begun.
    pub drain: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(15),
            idle: Duration::from_secs(120),
            streams: 1000,
            ping: Duration::from_secs(30),
            drain: Duration::from_secs(20),
        }
    }
}

/// How to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Asks for client certificates and verifies them: [`coracle_pki::server_config`].
    pub tls: Arc<rustls::ServerConfig>,
    /// Knows users.
    pub authenticator: Arc<Authenticator>,
    /// The bounds.
    pub limits: ListenLimits,
}

/// What all connections of a listener share.
struct Shared {
    acceptor: TlsAcceptor,
    authenticator: Arc<Authenticator>,
    limits: ListenLimits,
    router: Router,
    connections: Arc<Connections>,
    /// Cancelled when the listener stops: watches end, other requests are finished.
    stopping: CancellationToken,
}

/// How long the listener waits when the system has no more file descriptors and no connection is idle.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown`, then lets requests under way finish (watches and followed logs end at once, cleanly).
///
/// Requests reach the router with these extensions: [`crate::auth::UserInfo`], [`crate::streams::CutOff`], [`crate::upgrades::Ends`].
///
/// # Errors
/// When the listener cannot be used any more.
/// # Cancellation
/// Dropping the future closes all connections at once, but for those that were upgraded.
pub async fn serve(
    listener: TcpListener,
    options: Listen,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let shared = Arc::new(Shared {
        acceptor: TlsAcceptor::from(options.tls),
        authenticator: options.authenticator,
        connections: Arc::new(Connections::new(options.limits.connections)),
        limits: options.limits,
        router,
        stopping: CancellationToken::new(),
    });
    // Bounded by the number of connections.
    let mut tasks = JoinSet::new();
    let ended = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Some(place) = shared.connections.enter() else {
                        tracing::debug!("no room for another connection");
                        continue;
                    };
                    let shared = Arc::clone(&shared);
                    tasks.spawn(connection::serve(shared, stream, place));
                }
                Err(error) if is_fatal(&error) => break Err(error),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    if !shared.connections.evict() {
                        tokio::time::sleep(OUT_OF_FILES).await;
                    }
                }
            },
        }
    };
    drop(listener);
    shared.stopping.cancel();
    let drained = async { while tasks.join_next().await.is_some() {} };
    if timeout(shared.limits.drain, drained).await.is_err() {
        tracing::warn!(
            connections = tasks.len(),
            "closed connections that did not finish in time"
        );
    }
    // Dropping the set ends what is left.
    ended
}

/// Whether accepting will never work again. A connection that broke before it was accepted and a lack of files or memory are not such errors.
fn is_fatal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected | io::ErrorKind::Unsupported
    )
}

#[cfg(test)]
pub(crate) mod tests;
