//! A connection of a pod in a stream of a link. What the other end does not take yet stays where it is, on both sides: nothing is buffered here.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use crate::{error::NetError, stream::TcpStream};

/// The most bytes taken from the connection at a time.
const CHUNK: usize = 64 << 10;

/// Carries bytes both ways until both are through, or one end breaks; then the other learns of it.
pub(super) async fn relay(inside: TcpStream, send: SendStream<Bytes>, recv: RecvStream) {
    tokio::join!(outward(&inside, send), inward(&inside, recv));
}

async fn outward(inside: &TcpStream, mut send: SendStream<Bytes>) {
    loop {
        tokio::select! {
            () = inside.readable() => {}
            _ = poll_fn(|context| send.poll_reset(context)) => {
                inside.reset();
                return;
            }
        }
        match inside.try_read(CHUNK) {
            Ok(Some(chunk)) => {
                if write(&mut send, chunk).await.is_err() {
                    inside.reset();
                    return;
                }
            }
            Ok(None) => {
                // It fails when the stream is gone already, which the other direction notices.
                if let Err(error) = send.send_data(Bytes::new(), true) {
                    tracing::trace!(%error, "the end of a connection was not told");
                }
                return;
            }
            Err(NetError::WouldBlock) => {}
            Err(_) => {
                send.send_reset(Reason::CANCEL);
                return;
            }
        }
    }
}

/// Sends a chunk as the other side has room for it.
pub(super) async fn write(send: &mut SendStream<Bytes>, mut chunk: Bytes) -> Result<(), h2::Error> {
    while !chunk.is_empty() {
        send.reserve_capacity(chunk.len());
        let room = loop {
            let room = send.capacity();
            if room > 0 {
                break room;
            }
            match poll_fn(|context| send.poll_capacity(context)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(Reason::STREAM_CLOSED.into()),
            }
        };
        send.send_data(chunk.split_to(room.min(chunk.len())), false)?;
    }
    Ok(())
}

async fn inward(inside: &TcpStream, mut recv: RecvStream) {
    loop {
        let mut chunk = match recv.data().await {
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) => {
                inside.reset();
                return;
            }
            None => {
                inside.shutdown_write();
                return;
            }
        };
        let size = chunk.len();
        while !chunk.is_empty() {
            inside.writable().await;
            match inside.try_write(&mut chunk) {
                Ok(_) | Err(NetError::WouldBlock) => {}
                // Nobody reads any more: the stream is reset when it is let go of.
                Err(_) => return,
            }
        }
        if recv.flow_control().release_capacity(size).is_err() {
            inside.reset();
            return;
        }
    }
}
