//! Standard output and error: streams into the container's log, with back-pressure. A flood waits for the log; it does not fill the host's memory.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi_io::{
    async_trait,
    poll::Pollable,
    streams::{OutputStream, StreamResult},
};

use crate::spec::LogSink;

/// The most bytes in one write: also what the host allocates for it.
const WRITE_LIMIT: usize = 64 << 10;

/// A stream into a log.
#[derive(Clone)]
pub(crate) struct Log(Arc<dyn LogSink>, bool);

impl Log {
    /// Into `sink`, which is a terminal or not.
    pub(crate) fn new(sink: &Arc<dyn LogSink>, is_terminal: bool) -> Self {
        Self(Arc::clone(sink), is_terminal)
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        self.1
    }
}

impl StdoutStream for Log {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Log {
    async fn ready(&mut self) {
        poll_fn(|context| self.0.poll_ready(context)).await;
    }
}

impl OutputStream for Log {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // A waker that wakes nobody: the guest asks again when `ready` says so.
        let mut context = Context::from_waker(std::task::Waker::noop());
        Ok(if self.0.poll_ready(&mut context).is_ready() {
            WRITE_LIMIT
        } else {
            0
        })
    }
}

impl AsyncWrite for Log {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_ready(context));
        let bytes = bytes.get(..bytes.len().min(WRITE_LIMIT)).unwrap_or(bytes);
        self.0.write(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
