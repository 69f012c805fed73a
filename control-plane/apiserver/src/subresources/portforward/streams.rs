//! Port-forwarding over SPDY: the client opens a pair of streams for each connection, one for data and one on which it is told what went wrong.

use std::{collections::HashMap, time::Duration};

use axum::BoxError;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinSet,
    time::Instant,
};

use super::Target;
use crate::upgrades::{
    Io,
    channels::websocket,
    spdy::{self, Gone, Incoming, OPENING, Stream},
    tunnel::Tunnel,
};

/// How long a stream waits for the other one of its pair, as upstream.
const PAIRING: Duration = Duration::from_secs(30);

/// Forwards for a client that speaks SPDY.
pub(super) async fn forward(io: Io, target: Target) -> Result<(), BoxError> {
    serve(io, target).await
}

/// Forwards for a client that speaks SPDY in a WebSocket.
pub(super) async fn forward_tunneled(io: Io, target: Target) -> Result<(), BoxError> {
    serve(Tunnel::new(websocket(io).await), target).await
}

async fn serve(io: impl AsyncRead + AsyncWrite, target: Target) -> Result<(), BoxError> {
    let (opened, streams) = mpsc::channel(OPENING);
    let served = spdy::serve(io, opened);
    tokio::select! {
        served = served => Ok(served?),
        () = take(streams, target) => Ok(()),
    }
}

/// Pairs streams and has each pair carried. Goes on until the connection ends.
async fn take(mut streams: mpsc::Receiver<Stream>, target: Target) {
    let mut pairs = Pairs::default();
    let mut carried = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = streams.recv() => stream,
            Some(_) = carried.join_next() => continue,
        };
        let Some(stream) = stream else { break };
        match pairs.add(stream, Instant::now()) {
            Ok(Some(pair)) => {
                let target = target.clone();
                carried.spawn(async move {
                    // The client has gone: nobody to tell.
                    let _ = pair.carry(&target).await;
                });
            }
            Ok(None) => {}
            Err(odd) => {
                tracing::debug!(headers = ?odd.headers, "a stream that is part of no connection");
                carried.spawn(async move {
                    let _ = odd.outgoing.reset().await;
                });
            }
        }
    }
}

/// A connection of the client.
#[derive(Debug)]
struct Pair {
    port: String,
    data: Stream,
    error: Stream,
}

/// Streams that wait for the other one of their pair.
#[derive(Debug, Default)]
struct Pairs {
    waiting: HashMap<String, (Instant, Half)>,
}

#[derive(Debug)]
enum Half {
    Data(Stream),
    Error(Stream),
}

impl Pairs {
    /// The pair that `stream` makes whole, if it does.
    ///
    /// # Errors
    /// The stream, when it is neither half of a pair or one that is there already.
    fn add(&mut self, stream: Stream, now: Instant) -> Result<Option<Pair>, Box<Stream>> {
        // Bounded by the streams of the connection; whoever is forgotten here is reset.
        self.waiting
            .retain(|_, (since, _)| now.duration_since(*since) < PAIRING);
        let is_data = match stream.headers.get("streamtype") {
            Some("data") => true,
            Some("error") => false,
            _ => return Err(Box::new(stream)),
        };
        let id = match stream.headers.get("requestid") {
            Some(id) => id.to_owned(),
            // Clients before Kubernetes 1.2 open the error stream, then the data stream.
            None if is_data => stream.id.wrapping_sub(2).to_string(),
            None => stream.id.to_string(),
        };
        let port = stream.headers.get("port").unwrap_or_default().to_owned();
        match (self.waiting.remove(&id), is_data) {
            (None, _) => {
                let half = if is_data {
                    Half::Data(stream)
                } else {
                    Half::Error(stream)
                };
                self.waiting.insert(id, (now, half));
                Ok(None)
            }
            (Some((_, Half::Error(error))), true) => Ok(Some(Pair {
                port,
                data: stream,
                error,
            })),
            (Some((_, Half::Data(data))), false) => Ok(Some(Pair {
                port,
                data,
                error: stream,
            })),
            (Some(same), _) => {
                self.waiting.insert(id, same);
                Err(Box::new(stream))
            }
        }
    }
}

impl Pair {
    async fn carry(mut self, target: &Target) -> Result<(), Gone> {
        let connected = match self.port.parse::<u16>() {
            Ok(port) if port > 0 => target.connect(port).await,
            _ => Err(format!("unable to parse port {:?}", self.port)),
        };
        let wrong = match connected {
            Err(message) => Some(message),
            Ok(streams) => {
                let (up, mut down) = (streams.up, streams.down);
                let incoming = &mut self.data.incoming;
                let to_pod = async {
                    loop {
                        match incoming.recv().await {
                            Some(Incoming::Data(bytes)) => {
                                if up.send(bytes).await.is_err() {
                                    return true;
                                }
                            }
                            Some(Incoming::Reset) => return false,
                            None => return true,
                        }
                    }
                };
                let outgoing = &self.data.outgoing;
                let from_pod = async {
                    while let Some(bytes) = down.next().await {
                        match bytes {
                            Ok(bytes) => outgoing.send(bytes).await?,
                            Err(error) => return Ok(Some(error.to_string())),
                        }
                    }
                    Ok::<_, Gone>(None)
                };
                let mut from_pod = std::pin::pin!(from_pod);
                tokio::select! {
                    ended = &mut from_pod => ended?,
                    goes_on = to_pod => {
                        drop(up);
                        // The client has said all it had to say; or it wants no more.
                        if goes_on { from_pod.await? } else { None }
                    }
                }
            }
        };
        if let Some(message) = wrong {
            self.error.outgoing.send(Bytes::from(message)).await?;
        }
        self.data.outgoing.finish().await?;
        self.error.outgoing.finish().await
    }
}
