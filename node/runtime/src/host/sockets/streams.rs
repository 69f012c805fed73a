//! The streams of a connection. Ready means that a read yields something or a write takes something: the pipes below are exact about it.

use std::sync::Arc;

use bytes::Bytes;
use coracle_network::{NetError, TcpStream};
use wasmtime_wasi_io::{
    async_trait,
    poll::Pollable,
    streams::{InputStream, OutputStream, StreamError, StreamResult},
};

/// The most bytes taken or given in one call: also what the host allocates for it.
const CHUNK: usize = 64 << 10;

/// The reading side.
pub(super) struct Input {
    stream: Arc<TcpStream>,
    /// An error was told: from then on the stream is closed.
    failed: bool,
}

/// The writing side.
pub(super) struct Output {
    stream: Arc<TcpStream>,
    failed: bool,
}

impl Input {
    pub(super) fn new(stream: &Arc<TcpStream>) -> Self {
        Self {
            stream: Arc::clone(stream),
            failed: false,
        }
    }
}

impl Output {
    pub(super) fn new(stream: &Arc<TcpStream>) -> Self {
        Self {
            stream: Arc::clone(stream),
            failed: false,
        }
    }

    fn room(&mut self) -> StreamResult<usize> {
        match self.stream.room() {
            Ok(room) => Ok(room),
            Err(error) => Err(fail(error, &mut self.failed)),
        }
    }
}

/// The first error is told, after it the stream is closed.
fn fail(error: NetError, failed: &mut bool) -> StreamError {
    if *failed || error == NetError::InvalidState {
        return StreamError::Closed;
    }
    *failed = true;
    StreamError::LastOperationFailed(std::io::Error::from(error).into())
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        self.stream.readable().await;
    }
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 && !self.stream.is_at_end() {
            return Ok(Bytes::new());
        }
        match self.stream.try_read(size.clamp(1, CHUNK)) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(StreamError::Closed),
            Err(NetError::WouldBlock) => Ok(Bytes::new()),
            Err(error) => Err(fail(error, &mut self.failed)),
        }
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.stream.writable().await;
    }
}

impl OutputStream for Output {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            match self.stream.try_write(&mut bytes) {
                Ok(_) => {}
                // `check_write` said how much there is room for, and nobody else writes here.
                Err(NetError::WouldBlock) => {
                    return Err(StreamError::trap("write of more than check-write allows"));
                }
                Err(error) => return Err(fail(error, &mut self.failed)),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.room().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.room().map(|room| room.min(CHUNK))
    }
}
