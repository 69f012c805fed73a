//! A command's streams over a WebSocket: messages are frames of the node with another head.

use axum::BoxError;
use bytes::Bytes;
use coracle_api::channels::{CLOSE, Decoder, ERROR, RESIZE, STDERR, STDIN, STDOUT, encode};
use futures::StreamExt as _;
use tokio::time::timeout;

use super::failure;
use crate::{
    links::duplex::Streams,
    upgrades::{
        Io, LINGER,
        channels::{split, websocket},
    },
};

/// What versions of the protocol differ in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// The client says when its input has ended.
    closes: bool,
    /// The end is told as a Status; otherwise as a message, if it is a failure.
    has_status: bool,
}

impl Dialect {
    pub(super) fn of(protocol: &str) -> Self {
        Self {
            closes: protocol.starts_with("v5."),
            has_status: protocol != "channel.k8s.io",
        }
    }
}

pub(super) async fn carry(io: Io, node: Streams, dialect: Dialect) -> Result<(), BoxError> {
    let (mut reader, mut writer) = split(websocket(io).await);
    // Some clients wait until something is said before they say anything themselves.
    for channel in [STDOUT, STDERR, ERROR] {
        writer.send(channel, &[]).await?;
    }
    let Streams { up, mut down } = node;
    let to_node = async {
        let mut is_heard = true;
        while let Some((channel, bytes)) = reader.next().await? {
            let is_meant = match channel {
                STDIN | RESIZE => !bytes.is_empty(),
                CLOSE => dialect.closes && bytes.first() == Some(&STDIN),
                _ => false,
            };
            // When nobody reads further, how it ended is still to come.
            if is_meant && is_heard {
                is_heard = up.send(Bytes::from(encode(channel, &bytes))).await.is_ok();
            }
        }
        Ok::<_, BoxError>(())
    };
    let from_node = async {
        let mut decoder = Decoder::default();
        while let Some(bytes) = down.next().await {
            decoder.feed(&bytes?);
            while let Some((channel, bytes)) = decoder.next_frame()? {
                if channel == ERROR && !dialect.has_status {
                    if let Some(message) = failure(bytes) {
                        writer.send(ERROR, message.as_bytes()).await?;
                    }
                } else {
                    writer.send(channel, bytes).await?;
                }
            }
        }
        writer.close().await?;
        Ok::<_, BoxError>(())
    };
    // Ends with the client, which ends the command too, or with the command.
    let mut to_node = std::pin::pin!(to_node);
    tokio::select! {
        ended = &mut to_node => return ended,
        ended = from_node => ended?,
    }
    // What a client still sends is read: a connection that is closed before takes the last words with it.
    timeout(LINGER, to_node).await.unwrap_or(Ok(()))
}
