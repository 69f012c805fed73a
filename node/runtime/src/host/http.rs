//! Outgoing HTTP: requests of guests go through the pod's network like everything else, never to the host's. Plain HTTP/1.1; TLS to the outside
//! comes with egress.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use coracle_network::{NetError, PodStack};
use http::{Uri, uri::Scheme};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::time::{Sleep, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// How long a guest waits that does not say for how long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// Sends a container's requests.
pub(crate) struct Hooks {
    stack: Arc<PodStack>,
}

impl Hooks {
    pub(crate) fn new(stack: &Arc<PodStack>) -> Self {
        Self {
            stack: Arc::clone(stack),
        }
    }
}

type IoFuture = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, IoFuture), Error>;

impl WasiHttpHooks for Hooks {
    fn is_supported_scheme(&mut self, scheme: &Scheme) -> bool {
        *scheme == Scheme::HTTP
    }

    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTP)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: IoFuture,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let stack = Arc::clone(&self.stack);
        Box::new(send(stack, request, options))
    }
}

async fn send(
    stack: Arc<PodStack>,
    mut request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Sent {
    let of = |pick: fn(&RequestOptions) -> Option<Duration>| {
        options.as_ref().and_then(pick).unwrap_or(DEFAULT_TIMEOUT)
    };
    let connecting = of(|options| options.connect_timeout);
    let first_byte = of(|options| options.first_byte_timeout);
    let between_bytes = of(|options| options.between_bytes_timeout);
    let authority = request
        .uri()
        .authority()
        .ok_or(Error::HttpRequestUriInvalid)?;
    let port = authority.port_u16().unwrap_or(80);
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let stream = timeout(connecting, connect(&stack, &host, port))
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    // A pod that takes a connection and then does not answer is told of, so that its Service prefers others for a while.
    let backend = stream.backend();
    let failed = |error: Error| {
        if let Some(backend) = &backend {
            backend.failed();
        }
        error
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Hyper)?;
    // To an origin server, only the path goes over the wire (RFC 9112, section 3.2.1).
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    *request.uri_mut() = path
        .parse::<Uri>()
        .map_err(|_| Error::HttpRequestUriInvalid)?;
    let mut io: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> =
        Box::pin(async move { connection.await.map_err(Error::Hyper) });
    let mut ended = None;
    let answer = {
        let mut sending = Box::pin(sender.send_request(request));
        let both = std::future::poll_fn(|context| {
            // The connection must be driven for the answer to come.
            if ended.is_none()
                && let Poll::Ready(end) = io.as_mut().poll(context)
            {
                ended = Some(end);
            }
            sending.as_mut().poll(context)
        });
        timeout(first_byte, both)
            .await
            .map_err(|_| failed(Error::ConnectionReadTimeout))?
            .map_err(|error| failed(Error::Hyper(error)))?
    };
    let io: IoFuture = match ended {
        Some(end) => Box::new(std::future::ready(end)),
        None => Box::new(io),
    };
    let body = |incoming| Timed {
        incoming,
        limit: between_bytes,
        sleep: Box::pin(tokio::time::sleep(between_bytes)),
    };
    Ok((answer.map(|incoming| body(incoming).boxed_unsync()), io))
}

async fn connect(
    stack: &Arc<PodStack>,
    host: &str,
    port: u16,
) -> Result<coracle_network::TcpStream, Error> {
    let addresses = stack.lookup(host).map_err(|_| Error::DnsError {
        rcode: Some("NXDOMAIN".to_owned()),
        info_code: None,
    })?;
    let mut last = Error::DestinationNotFound;
    for ip in addresses {
        match stack.tcp_connect(SocketAddr::new(ip, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = refused(error),
        }
    }
    Err(last)
}

fn refused(error: NetError) -> Error {
    match error {
        NetError::ConnectionRefused => Error::ConnectionRefused,
        NetError::AccessDenied => Error::DestinationIpProhibited,
        NetError::Timeout => Error::ConnectionTimeout,
        NetError::NewSocketLimit => Error::ConnectionLimitReached,
        NetError::RemoteUnreachable => Error::DestinationIpUnroutable,
        _ => Error::ConnectionTerminated,
    }
}

/// A response body that gives up when nothing comes for too long.
struct Timed {
    incoming: hyper::body::Incoming,
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            let next = tokio::time::Instant::now() + self.limit;
            self.sleep.as_mut().reset(next);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::Hyper)));
        }
        match self.sleep.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
