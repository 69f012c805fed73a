//! One connection from handshake to end: TLS, HTTP by what the client chose, and the clock that closes it when nothing happens.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::server::TlsStream;

use super::{
    ListenLimits, Shared,
    connections::{Connection, Place},
    requests::Requests,
};
use crate::auth::authenticator::Peer;

/// The longest head of a request and its largest number of headers. A token of 16 KiB fits.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 128;
/// The largest HTTP/2 header list.
const HEADER_LIST_BYTES: u32 = 64 * 1024;
/// How much of one HTTP/2 answer is buffered before its client reads.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Serves a connection until it ends, is told to close, or nothing happens on it for too long.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, place: Place) {
    let connection = Arc::clone(place.connection());
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it began");
        return;
    }
    let handshake = timeout(shared.limits.handshake, shared.acceptor.accept(stream));
    let stream = tokio::select! {
        () = connection.close.cancelled() => return,
        () = shared.stopping.cancelled() => return,
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                return;
            }
        },
    };
    let peer = match peer(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::debug!(%error, "a client certificate names no user");
            return;
        }
    };
    let requests = Requests::new(Arc::clone(&shared), Arc::clone(&connection), peer);
    // The place goes with the stream: an upgraded connection keeps it.
    let io = TokioIo::new(Held {
        stream,
        _place: place,
    });
    let builder = builder(&shared.limits);
    let mut http = pin!(builder.serve_connection_with_upgrades(io, requests));
    let mut ending = None;
    loop {
        let deadline = ending.unwrap_or_else(|| deadline(&connection, &shared.limits));
        tokio::select! {
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            () = connection.close.cancelled() => return,
            () = shared.stopping.cancelled(), if ending.is_none() => {
                http.as_mut().graceful_shutdown();
                ending = Some(Instant::now() + shared.limits.drain);
            }
            () = sleep_until(deadline) => {
                if ending.is_some() {
                    return;
                }
                if is_over(&connection, &shared.limits) {
                    // Tells the client not to send another request; what is on its way already has the time of a handshake to arrive.
                    http.as_mut().graceful_shutdown();
                    ending = Some(Instant::now() + shared.limits.handshake);
                }
            }
        }
    }
}

/// Whether nothing has happened for too long.
fn is_over(connection: &Connection, limits: &ListenLimits) -> bool {
    connection.idle_since().is_some() && deadline(connection, limits) <= Instant::now()
}

/// When to look again whether anything happens.
fn deadline(connection: &Connection, limits: &ListenLimits) -> Instant {
    match connection.idle_since() {
        Some((since, true)) => since + limits.idle,
        Some((since, false)) => since + limits.first_request,
        None => Instant::now() + limits.idle,
    }
}

fn builder(limits: &ListenLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping);
    builder
}

/// The user named by the client's certificate, if it showed one. TLS has verified it.
fn peer(stream: &TlsStream<TcpStream>) -> Result<Option<Peer>, coracle_pki::PkiError> {
    let (_, session) = stream.get_ref();
    let certificate: Option<&CertificateDer<'_>> =
        session.peer_certificates().and_then(<[_]>::first);
    certificate.map(|der| Peer::of_certificate(der)).transpose()
}

/// A stream with its connection's place.
struct Held<S> {
    stream: S,
    _place: Place,
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
