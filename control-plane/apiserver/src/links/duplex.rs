//! A stream of bytes to something on a node: a request whose body is one direction and whose answer is the other. What the bytes mean is the business
//! of whoever opens it.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, BodyDataStream};
use bytes::{Buf, Bytes};
use futures::{Stream as _, stream};
use http::{Request, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::PollSender;

use super::{LinkError, NodeLinks};

/// Pieces that wait for the link. When full, whoever sends waits.
const WAITING: usize = 4;
/// The longest piece made of what is written to a [`Duplex`].
const PIECE_BYTES: usize = 64 << 10;
/// The longest refusal of a node that is read.
const REFUSAL_BYTES: usize = 16 << 10;

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The node could not be asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The node says no.
    #[error("{message}")]
    Refused {
        /// With which HTTP status.
        code: StatusCode,
        /// Why, for people.
        message: String,
    },
}

/// Both directions of a stream. Dropping `up` says that no more comes; dropping both gives the stream up.
#[derive(Debug)]
pub struct Streams {
    /// To the node.
    pub up: mpsc::Sender<Bytes>,
    /// From the node; its trailers mean nothing.
    pub down: BodyDataStream,
}

impl NodeLinks {
    /// Opens a stream to what `uri` names on `node`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, node: &str, uri: &str) -> Result<Streams, OpenError> {
        let (up, waiting) = mpsc::channel(WAITING);
        let body = stream::unfold(waiting, |mut waiting: mpsc::Receiver<Bytes>| async {
            let next = waiting.recv().await?;
            Some((Ok::<_, Infallible>(next), waiting))
        });
        let request = Request::post(uri)
            .body(Body::from_stream(body))
            .map_err(|error| OpenError::Refused {
                code: StatusCode::BAD_REQUEST,
                message: format!("{uri:?} is no path on a node: {error}"),
            })?;
        let answer = self.call(node, request).await?;
        let code = answer.status();
        if code == StatusCode::OK {
            let down = answer.into_body().into_data_stream();
            return Ok(Streams { up, down });
        }
        drop(up);
        let text = axum::body::to_bytes(answer.into_body(), REFUSAL_BYTES).await;
        let message = match text {
            Ok(text) if !text.is_empty() => String::from_utf8_lossy(&text).into_owned(),
            _ => format!("node {node} answered {code}"),
        };
        Err(OpenError::Refused { code, message })
    }
}

/// A stream as one that can be read and written, for protocols that want that.
pub struct Duplex {
    up: Option<PollSender<Bytes>>,
    down: BodyDataStream,
    rest: Bytes,
}

impl From<Streams> for Duplex {
    fn from(streams: Streams) -> Self {
        Self {
            up: Some(PollSender::new(streams.up)),
            down: streams.down,
            rest: Bytes::new(),
        }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.down).poll_next(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => {
                    let error = io::Error::new(io::ErrorKind::ConnectionReset, error);
                    return Poll::Ready(Err(error));
                }
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(self.rest.get(..length).unwrap_or_default());
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let closed = || Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        let Some(up) = &mut self.up else {
            return closed();
        };
        if ready!(up.poll_reserve(context)).is_err() {
            return closed();
        }
        let piece = bytes.get(..bytes.len().min(PIECE_BYTES)).unwrap_or(bytes);
        match up.send_item(Bytes::copy_from_slice(piece)) {
            Ok(()) => Poll::Ready(Ok(piece.len())),
            Err(_) => closed(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.up = None;
        Poll::Ready(Ok(()))
    }
}
