//! A command's streams over SPDY: the client opens one for each, and says in its headers which it is.

use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use coracle_api::channels::{CLOSE, Decoder, ERROR, RESIZE, STDERR, STDIN, STDOUT, encode};
use futures::StreamExt as _;
use tokio::{sync::mpsc, time::timeout};

use super::Wanted;
use crate::{
    links::duplex::Streams,
    upgrades::{
        Io,
        spdy::{self, Incoming, OPENING, Outgoing, Stream},
    },
};

/// How long a client may take to open its streams, as upstream.
const OPENING_TIME: Duration = Duration::from_secs(30);

pub(super) async fn carry(io: Io, node: Streams, wanted: Wanted) -> Result<(), BoxError> {
    let (opened, streams) = mpsc::channel(OPENING);
    let served = spdy::serve(io, opened);
    let carried = async {
        let opened = timeout(OPENING_TIME, Opened::take(streams, wanted));
        exchange(opened.await??, node).await
    };
    let mut served = std::pin::pin!(served);
    tokio::select! {
        served = &mut served => return Ok(served?),
        carried = carried => carried?,
    }
    // What was said last has still to be written.
    Ok(served.await?)
}

/// The client's streams.
struct Opened {
    stdin: Option<mpsc::Receiver<Incoming>>,
    resize: Option<mpsc::Receiver<Incoming>>,
    stdout: Option<Outgoing>,
    stderr: Option<Outgoing>,
    error: Outgoing,
    /// Takes no more streams, but lets the connection live.
    _further: mpsc::Receiver<Stream>,
}

impl Opened {
    /// Waits for all streams that are wanted.
    async fn take(mut streams: mpsc::Receiver<Stream>, wanted: Wanted) -> Result<Self, BoxError> {
        let (mut stdin, mut resize, mut stdout, mut stderr, mut error) =
            (None, None, None, None, None);
        let mut missing = 1 + wanted.named().into_iter().filter(|(_, is)| *is).count();
        while missing > 0 {
            let stream = streams.recv().await.ok_or("the client has gone")?;
            let kind = stream.headers.get("streamtype").unwrap_or_default();
            let is_new = match kind {
                "stdin" => stdin.replace(stream.incoming).is_none(),
                "resize" => resize.replace(stream.incoming).is_none(),
                "stdout" => stdout.replace(stream.outgoing).is_none(),
                "stderr" => stderr.replace(stream.outgoing).is_none(),
                "error" => error.replace(stream.outgoing).is_none(),
                other => return Err(format!("a stream of type {other:?}").into()),
            };
            if !is_new {
                return Err("a stream was opened twice".into());
            }
            missing -= 1;
        }
        Ok(Self {
            stdin,
            resize,
            stdout,
            stderr,
            error: error.ok_or("no stream for the error")?,
            _further: streams,
        })
    }
}

async fn exchange(opened: Opened, node: Streams) -> Result<(), BoxError> {
    let Streams { up, mut down } = node;
    let to_node = async {
        tokio::join!(
            send(opened.stdin, STDIN, &up),
            send(opened.resize, RESIZE, &up)
        );
        // Their ends are not the command's.
        std::future::pending::<()>().await;
    };
    let from_node = async {
        let mut decoder = Decoder::default();
        while let Some(bytes) = down.next().await {
            decoder.feed(&bytes?);
            while let Some((channel, bytes)) = decoder.next_frame()? {
                let to = match channel {
                    STDOUT => opened.stdout.as_ref(),
                    STDERR => opened.stderr.as_ref(),
                    ERROR => Some(&opened.error),
                    _ => None,
                };
                if let Some(to) = to {
                    to.send(Bytes::copy_from_slice(bytes)).await?;
                }
            }
        }
        for stream in [&opened.stdout, &opened.stderr].into_iter().flatten() {
            stream.finish().await?;
        }
        Ok::<_, BoxError>(opened.error.finish().await?)
    };
    tokio::select! {
        () = to_node => Ok(()),
        ended = from_node => ended,
    }
}

/// Passes on what comes on a stream.
async fn send(stream: Option<mpsc::Receiver<Incoming>>, channel: u8, up: &mpsc::Sender<Bytes>) {
    let Some(mut stream) = stream else { return };
    while let Some(Incoming::Data(bytes)) = stream.recv().await {
        if up.send(encode(channel, &bytes).into()).await.is_err() {
            return;
        }
    }
    if channel == STDIN {
        // The command may have ended.
        let _ = up.send(encode(CLOSE, &[STDIN]).into()).await;
    }
}
