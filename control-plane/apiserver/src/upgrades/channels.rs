//! Kubernetes' channels in a WebSocket: each binary message begins with the number of its channel. Carries bytes; what the channels are for is the
//! business of whoever uses them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Utf8Bytes,
        protocol::{CloseFrame, Message, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// The largest message taken. Clients send what they have read at once: 32 KiB is usual, some send files whole.
const MESSAGE_BYTES: usize = 4 << 20;
/// What may wait to be written: one message and some.
const WRITE_BYTES: usize = 256 << 10;
/// The longest message sent.
pub const PIECE_BYTES: usize = 64 << 10;
/// A connection on which nothing comes for so long ends. Upstream's time.
const IDLE: Duration = Duration::from_secs(4 * 3600);

/// Settings of every WebSocket here.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
        .write_buffer_size(0)
        .max_write_buffer_size(MESSAGE_BYTES + WRITE_BYTES)
}

/// A WebSocket on an upgraded connection.
pub async fn websocket<S>(io: S) -> WebSocketStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await
}

/// The channels of a WebSocket, both ways apart.
pub fn split<S>(socket: WebSocketStream<S>) -> (Reader<S>, Writer<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, stream) = socket.split();
    (Reader(stream), Writer(sink))
}

/// What comes from the client.
pub struct Reader<S>(SplitStream<WebSocketStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// The next channel's number and bytes; `None` is the end.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn next(&mut self) -> Result<Option<(u8, Bytes)>, Error> {
        loop {
            let Ok(next) = timeout(IDLE, self.0.next()).await else {
                return Ok(None);
            };
            let mut bytes: Bytes = match next {
                None => return Ok(None),
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Text(text))) => text.into(),
                Some(Ok(Message::Close(_))) => return Ok(None),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                // As gone as one that says so.
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Ok(None),
                Some(Err(error)) => return Err(error),
            };
            // An empty message is for no channel.
            if let Some(&channel) = bytes.first() {
                return Ok(Some((channel, bytes.split_off(1))));
            }
        }
    }
}

/// What goes to the client.
pub struct Writer<S>(SplitSink<WebSocketStream<S>, Message>);

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    /// Sends bytes on a channel; waits while the client does not take them.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Error> {
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.extend_from_slice(&[channel]);
        message.extend_from_slice(bytes);
        self.0.send(Message::Binary(message.freeze())).await
    }

    /// Ends the connection in order.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn close(&mut self) -> Result<(), Error> {
        // Without a code clients take the end for a broken connection.
        let normal = CloseFrame {
            code: CloseCode::Normal,
            reason: Utf8Bytes::default(),
        };
        self.0.send(Message::Close(Some(normal))).await
    }
}
