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
pub(super) struct Input(pub(super) Arc<TcpStream>);

/// The writing side.
pub(super) struct Output(pub(super) Arc<TcpStream>);

fn failed(error: NetError) -> StreamError {
    match error {
        NetError::InvalidState => StreamError::Closed,
        other => StreamError::LastOperationFailed(std::io::Error::from(other).into()),
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        self.0.readable().await;
    }
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        match self.0.try_read(size.min(CHUNK)) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(StreamError::Closed),
            Err(NetError::WouldBlock) => Ok(Bytes::new()),
            Err(error) => Err(failed(error)),
        }
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.0.writable().await;
    }
}

impl OutputStream for Output {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            match self.0.try_write(&mut bytes) {
                Ok(_) => {}
                // `check_write` said how much there is room for, and nobody else writes here.
                Err(NetError::WouldBlock) => {
                    return Err(StreamError::trap("write of more than check-write allows"));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.room().map(|room| room.min(CHUNK)).map_err(failed)
    }
}
