//! The server's side of a SPDY connection: takes the streams that the client opens, carries their bytes, answers pings. What streams are for is their
//! takers' business.

use std::{collections::HashMap, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use super::{
    super::LINGER,
    SpdyError,
    frame::{Decoder, Encoder, Frame},
    headers::Headers,
};

/// Streams of a connection at a time. `kubectl port-forward` has two for each local connection.
const STREAMS: usize = 512;
/// Pieces (of 64 KiB at most) that wait for a stream's taker. When full, the whole connection waits, as in upstream's.
const INCOMING: usize = 4;
/// Frames that wait to be written.
const OUTGOING: usize = 16;
/// Streams that wait to be taken.
pub const OPENING: usize = 16;
/// Written at a time.
const WRITE_BYTES: usize = 64 << 10;
/// A connection on which nothing happens for so long ends. Upstream's time.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// How long what is still to be written may take when the connection ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// RST_STREAM statuses.
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 3;
const CANCEL: u32 = 5;

/// What a client says on a stream; no more is its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Bytes.
    Data(Bytes),
    /// It gives the stream up, in both directions.
    Reset,
}

/// A stream that a client has opened.
#[derive(Debug)]
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// What the client says it is.
    pub headers: Headers,
    /// What comes from the client.
    pub incoming: mpsc::Receiver<Incoming>,
    /// What goes to it.
    pub outgoing: Outgoing,
}

/// The way to the client on one stream.
#[derive(Clone, Debug)]
pub struct Outgoing {
    id: u32,
    frames: mpsc::Sender<Frame>,
}

/// The connection has ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client has gone")]
pub struct Gone;

impl Outgoing {
    /// Sends bytes; waits while the client does not take them.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.data(bytes, false).await
    }

    /// Says that no more comes.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn finish(&self) -> Result<(), Gone> {
        self.data(Bytes::new(), true).await
    }

    /// Gives the stream up in both directions.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn reset(&self) -> Result<(), Gone> {
        let (id, status) = (self.id, CANCEL);
        let sent = self.frames.send(Frame::Reset { id, status }).await;
        sent.map_err(|_| Gone)
    }

    async fn data(&self, bytes: Bytes, fin: bool) -> Result<(), Gone> {
        let id = self.id;
        let sent = self.frames.send(Frame::Data { id, bytes, fin }).await;
        sent.map_err(|_| Gone)
    }
}

/// Serves a connection until its client ends it, handing on the streams it opens. Ends too when nobody takes streams any more and all that was to
/// be written is. Whoever takes streams ends with this future: they are not told of its end otherwise.
///
/// # Errors
/// [`SpdyError`].
pub async fn serve<S>(io: S, opened: mpsc::Sender<Stream>) -> Result<(), SpdyError>
where
    S: AsyncRead + AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(io);
    let (frames, waiting) = mpsc::channel(OUTGOING);
    let mut table = Table {
        streams: HashMap::new(),
        last: 0,
        opened: opened.clone(),
        frames,
    };
    let reading = async {
        let mut decoder = Decoder::new();
        loop {
            while let Some(frame) = decoder.next_frame()? {
                if !table.take(frame).await {
                    return Ok(());
                }
            }
            let read = timeout(IDLE, reader.read_buf(decoder.buffer())).await;
            // Nothing said for hours, not even pings: as if the client had gone.
            if read.unwrap_or(Ok(0))? == 0 {
                return Ok(());
            }
        }
    };
    let mut writing = std::pin::pin!(write(&mut writer, waiting));
    tokio::select! {
        // Ends first where it can: what was written last must reach the client.
        biased;
        written = &mut writing => return written,
        // The client has gone.
        read = reading => return read,
        () = opened.closed() => {}
    }
    drop(table);
    timeout(LAST_WORDS, writing).await.unwrap_or(Ok(()))?;
    // What a client still sends is read: a connection that is closed before takes the last words with it.
    let mut unheard = [0; 4096];
    let lingering = async { while reader.read(&mut unheard).await.is_ok_and(|read| read > 0) {} };
    // It has had its time.
    let _ = timeout(LINGER, lingering).await;
    Ok(())
}

/// Writes frames until nobody can send any.
async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut waiting: mpsc::Receiver<Frame>,
) -> Result<(), SpdyError> {
    let mut encoder = Encoder::default();
    let mut bytes = BytesMut::new();
    while let Some(frame) = waiting.recv().await {
        encoder.write(&frame, &mut bytes);
        while bytes.len() < WRITE_BYTES
            && let Ok(frame) = waiting.try_recv()
        {
            encoder.write(&frame, &mut bytes);
        }
        writer.write_all_buf(&mut bytes).await?;
        writer.flush().await?;
    }
    writer.shutdown().await?;
    Ok(())
}

/// The streams of a connection.
struct Table {
    streams: HashMap<u32, mpsc::Sender<Incoming>>,
    /// The number of the stream opened last.
    last: u32,
    opened: mpsc::Sender<Stream>,
    frames: mpsc::Sender<Frame>,
}

impl Table {
    /// Does what a frame says. Says whether the connection goes on.
    async fn take(&mut self, frame: Frame) -> bool {
        match frame {
            Frame::SynStream { id, headers, fin } => self.open(id, headers, fin).await,
            Frame::Data { id, bytes, fin } => {
                if let Some(stream) = self.streams.get(&id) {
                    // An error: nobody takes it any more, which the client will learn by the stream's end.
                    let taken =
                        bytes.is_empty() || stream.send(Incoming::Data(bytes)).await.is_ok();
                    if fin || !taken {
                        self.streams.remove(&id);
                    }
                }
                true
            }
            Frame::Reset { id, .. } => {
                if let Some(stream) = self.streams.remove(&id) {
                    // Whoever has gone needs no telling.
                    let _ = stream.send(Incoming::Reset).await;
                }
                true
            }
            Frame::Headers { id, fin, .. } => {
                if fin {
                    self.streams.remove(&id);
                }
                true
            }
            // The client's own pings have odd numbers; an even one would be an answer to ours, of which there are none.
            Frame::Ping { id } => id.is_multiple_of(2) || self.send(Frame::Ping { id }).await,
            Frame::GoAway { .. } => false,
            Frame::SynReply { .. } | Frame::Other => true,
        }
    }

    async fn open(&mut self, id: u32, headers: Headers, fin: bool) -> bool {
        if id.is_multiple_of(2) || id <= self.last {
            let status = PROTOCOL_ERROR;
            return self.send(Frame::Reset { id, status }).await;
        }
        self.last = id;
        if self.streams.len() >= STREAMS {
            self.streams.retain(|_, stream| !stream.is_closed());
        }
        if self.streams.len() >= STREAMS {
            let status = REFUSED_STREAM;
            return self.send(Frame::Reset { id, status }).await;
        }
        let (sender, incoming) = mpsc::channel(INCOMING);
        if !fin {
            self.streams.insert(id, sender);
        }
        let stream = Stream {
            id,
            headers,
            incoming,
            outgoing: Outgoing {
                id,
                frames: self.frames.clone(),
            },
        };
        let reply = Frame::SynReply {
            id,
            headers: Headers::default(),
            fin: false,
        };
        self.send(reply).await && self.opened.send(stream).await.is_ok()
    }

    async fn send(&self, frame: Frame) -> bool {
        self.frames.send(frame).await.is_ok()
    }
}

#[cfg(test)]
pub(crate) mod tests;
