//! One connection between two nodes: HTTP/2, whose client is whoever dialled. A connection of pods is a `CONNECT` stream; where the side that was
//! dialled wants one, it asks for it in a frame, and the other opens the stream.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{SendStream, client::SendRequest};
use http::{Method, Request, Response};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Tunnels,
    begin::{Opened, SOURCE, begin, put, request},
    frames::Frame,
    relay::{relay, write},
    side::Side,
};
use crate::{error::NetError, policy::PodFacts, stream::TcpStream};

/// The path of the stream of frames.
const FRAMES: &str = "http://node/frames";

/// Connections of pods on one link at a time.
const STREAMS: u32 = 4096;
/// What a connection may have under way: as much as within a node.
const STREAM_WINDOW: u32 = 256 << 10;
/// What all together may, so that a pod that does not read holds up no other.
const LINK_WINDOW: u32 = 1 << 30;
/// Pods that are remembered of the other side; beyond it all are asked for anew.
pub(super) const PODS: usize = 65_536;
/// After so long what nobody answered is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Frames that wait to be sent. What comes when it is full is lost, as on a wire.
const QUEUE: usize = 512;

/// Why there is no link, or no longer. All are worth another try later.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection below.
    #[error("connection")]
    Io(#[from] std::io::Error),
    /// The node's own certificate.
    #[error("handshake")]
    Tls(#[from] rustls::Error),
    /// HTTP/2.
    #[error("HTTP/2")]
    Http(#[from] h2::Error),
    /// The other side has a certificate, but not a node's.
    #[error("the certificate is no node's")]
    Nameless,
    /// The other side speaks something else.
    #[error("another protocol")]
    Protocol,
    /// No such node is known.
    #[error("node {0:?} is not of this cluster")]
    Unknown(String),
    /// The tunnels are closed.
    #[error("closed")]
    Closed,
}

/// A link.
pub(super) struct Link {
    way: Way,
    frames: mpsc::Sender<Bytes>,
    pods: Arc<Pods>,
    closed: CancellationToken,
}

/// What the other side has told of its pods. It tells anew when something changes, so what is known stays true while the link lives.
#[derive(Default)]
pub(super) struct Pods {
    pub(super) known: Mutex<HashMap<IpAddr, Option<Arc<PodFacts>>>>,
    /// What the other side was told here: of these it wants to know changes.
    pub(super) told: Mutex<HashSet<IpAddr>>,
    /// Counts what was learnt.
    pub(super) learnt: watch::Sender<u64>,
}

/// How streams are begun.
enum Way {
    /// This side dialled.
    Dialled(SendRequest<Bytes>),
    /// The other side did, and is asked.
    Accepted(Arc<Waiting>),
}

/// Who waits for streams that the other side was asked to begin.
#[derive(Default)]
pub(super) struct Waiting {
    next: AtomicU64,
    pub(super) streams: Mutex<HashMap<u64, oneshot::Sender<Opened>>>,
}

/// Does what a link has to do until it ends.
type Run = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Link {
    /// The link on a connection to `node` that this side opened.
    pub(super) async fn dialled<S>(
        tunnels: &Arc<Tunnels>,
        node: &str,
        stream: S,
    ) -> Result<(Arc<Self>, Run), LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .max_concurrent_streams(0)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(LINK_WINDOW);
        let (sender, mut connection) = builder.handshake(stream).await?;
        let pings = pings(tunnels, connection.ping_pong());
        let mut first = sender.clone();
        let request = Request::post(FRAMES).body(()).unwrap_or_default();
        let opening = async {
            first = first.ready().await?;
            let (response, send) = first.send_request(request, false)?;
            let recv = response.await?.into_body();
            Ok::<_, h2::Error>((send, recv))
        };
        let (frames_out, frames_in) = tokio::select! {
            opened = opening => opened?,
            ended = &mut connection => {
                ended?;
                return Err(LinkError::Closed);
            }
        };
        let (frames, queue) = mpsc::channel(QUEUE);
        let pods = Arc::new(Pods::default());
        let closed = CancellationToken::new();
        let link = Arc::new(Self {
            way: Way::Dialled(sender.clone()),
            frames: frames.clone(),
            pods: Arc::clone(&pods),
            closed: closed.clone(),
        });
        let side = Side {
            tunnels: Arc::clone(tunnels),
            node: node.to_owned(),
            pods,
            frames: frames.downgrade(),
            asked: Some((sender, Arc::new(Semaphore::new(STREAMS as usize)))),
        };
        let run = async move {
            let _over = closed.clone().drop_guard();
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a link broke");
                    }
                }
                () = pings => {}
                () = send_frames(frames_out, queue) => {}
                () = side.receive_frames(frames_in) => {}
                () = closed.cancelled() => {}
            }
        };
        Ok((link, Box::pin(run)))
    }

    /// The link on a connection that `node` opened.
    pub(super) async fn accepted<S>(
        tunnels: &Arc<Tunnels>,
        node: &str,
        stream: S,
    ) -> Result<(Arc<Self>, Run), LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(LINK_WINDOW);
        let mut connection: h2::server::Connection<S, Bytes> = builder.handshake(stream).await?;
        let pings = pings(tunnels, connection.ping_pong());
        // The first stream is that of frames.
        let (request, mut respond) = connection.accept().await.ok_or(LinkError::Closed)??;
        if request.method() != Method::POST {
            return Err(LinkError::Protocol);
        }
        let frames_out = respond.send_response(Response::new(()), false)?;
        let frames_in = request.into_body();
        let (frames, queue) = mpsc::channel(QUEUE);
        let pods = Arc::new(Pods::default());
        let closed = CancellationToken::new();
        let waiting = Arc::new(Waiting::default());
        let link = Arc::new(Self {
            way: Way::Accepted(Arc::clone(&waiting)),
            frames: frames.clone(),
            pods: Arc::clone(&pods),
            closed: closed.clone(),
        });
        let side = Side {
            tunnels: Arc::clone(tunnels),
            node: node.to_owned(),
            pods,
            frames: frames.downgrade(),
            asked: None,
        };
        let run = async move {
            let _over = closed.clone().drop_guard();
            let streams = async {
                while let Some(accepted) = connection.accept().await {
                    match accepted {
                        Ok((request, respond)) => side.take(&waiting, request, respond),
                        Err(error) => {
                            tracing::debug!(%error, "a link broke");
                            break;
                        }
                    }
                }
            };
            tokio::select! {
                () = streams => {}
                () = pings => {}
                () = send_frames(frames_out, queue) => {}
                () = side.receive_frames(frames_in) => {}
                () = closed.cancelled() => {}
            }
            // Whoever waits for a stream waits in vain.
            waiting.streams.lock().clear();
        };
        Ok((link, Box::pin(run)))
    }

    pub(super) fn is_live(&self) -> bool {
        !self.closed.is_cancelled()
    }

    /// Ends the link; says that it is to be forgotten.
    pub(super) fn close(&self) -> bool {
        self.closed.cancel();
        false
    }

    /// Connects to a pod of the other node.
    pub(super) async fn open(
        &self,
        tunnels: &Tunnels,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Result<TcpStream, NetError> {
        let (send, recv) = match &self.way {
            Way::Dialled(sender) => {
                let mut request = request(target)?;
                put(request.headers_mut(), SOURCE, &source.to_string());
                begin(sender.clone(), request).await?
            }
            Way::Accepted(waiting) => self.ask(waiting, source, target).await?,
        };
        let (near, far) = TcpStream::pair(source, target);
        tunnels.spawn(relay(far, send, recv));
        Ok(near)
    }

    async fn ask(&self, waiting: &Arc<Waiting>, source: SocketAddr, target: SocketAddr) -> Opened {
        let number = waiting.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        {
            let mut streams = waiting.streams.lock();
            if streams.len() >= STREAMS as usize {
                return Err(NetError::NewSocketLimit);
            }
            streams.insert(number, tell);
        }
        let _forget = Forget {
            waiting: Arc::clone(waiting),
            number,
        };
        let dial = Frame::Dial {
            number,
            source,
            target,
        };
        let sent = self.frames.send(dial.encode()).await;
        sent.map_err(|_| NetError::ConnectionReset)?;
        told.await.unwrap_or(Err(NetError::ConnectionReset))
    }

    /// The pod of the other side at an address, if that is known. `None`: it has to be asked for.
    pub(super) fn known(&self, ip: IpAddr) -> Option<Option<Arc<PodFacts>>> {
        self.pods.known.lock().get(&ip).cloned()
    }

    /// Asks for the pod of the other side at an address. The caller bounds the wait.
    pub(super) async fn who(&self, ip: IpAddr) -> Result<Option<Arc<PodFacts>>, NetError> {
        let mut learnt = self.pods.learnt.subscribe();
        loop {
            learnt.mark_unchanged();
            if let Some(known) = self.known(ip) {
                return Ok(known);
            }
            let asked = self.frames.send(Frame::Who { ip }.encode()).await;
            asked.map_err(|_| NetError::ConnectionReset)?;
            // A question or answer that was lost is asked anew.
            let told = timeout(ASK_AGAIN, learnt.changed());
            tokio::select! {
                _ = told => {}
                () = self.closed.cancelled() => return Err(NetError::ConnectionReset),
            }
        }
    }

    /// Tells the other side of a change, if it wants to know.
    pub(super) fn tell(&self, ip: IpAddr, pod: Option<&PodFacts>) {
        if !self.pods.told.lock().contains(&ip) {
            return;
        }
        let is = Frame::Is {
            ip,
            pod: pod.cloned(),
        };
        if self.frames.try_send(is.encode()).is_err() {
            // Better no link than one that tells what is not true any more.
            self.closed.cancel();
        }
    }

    /// Sends a datagram to a pod of the other node. When too many wait it is lost.
    pub(super) fn send(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    ) -> Result<(), NetError> {
        let frame = Frame::Datagram {
            source,
            target,
            data,
        };
        if self.frames.try_send(frame.encode()).is_err() {
            tracing::trace!(%source, %target, "a datagram was lost: the link is busy");
        }
        Ok(())
    }
}

/// Takes a request to dial back when nobody waits for it any more.
struct Forget {
    waiting: Arc<Waiting>,
    number: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.waiting.streams.lock().remove(&self.number);
    }
}

async fn send_frames(mut send: SendStream<Bytes>, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(frame) = queue.recv().await {
        if write(&mut send, frame).await.is_err() {
            return;
        }
    }
}

/// Ends when the other side does not answer.
fn pings(tunnels: &Tunnels, ping_pong: Option<h2::PingPong>) -> impl Future<Output = ()> + use<> {
    let (ping, pong) = (tunnels.config.ping, tunnels.config.pong);
    async move {
        let Some(mut ping_pong) = ping_pong else {
            return;
        };
        loop {
            tokio::time::sleep(ping).await;
            match timeout(pong, ping_pong.ping(h2::Ping::opaque())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a link broke");
                    return;
                }
                Err(_) => {
                    tracing::debug!("a link is dead");
                    return;
                }
            }
        }
    }
}
