//! A TCP connection as one side holds it: a pipe to read from and one to write to.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{balance::Backend, counters::Counters, error::NetError, pipe::Pipe};

/// One side of a connection. Dropping it closes it: what was written still arrives, what is not read yet is lost, and then the other side learns of it.
pub struct TcpStream {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
    local: SocketAddr,
    peer: SocketAddr,
    counters: Option<Arc<Counters>>,
    backend: Option<Backend>,
    on_close: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("local", &self.local)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl TcpStream {
    /// Both sides of a new connection from `client` to `server`.
    #[must_use]
    pub fn pair(client: SocketAddr, server: SocketAddr) -> (Self, Self) {
        let (there, back) = (Arc::new(Pipe::new()), Arc::new(Pipe::new()));
        let near = Self {
            incoming: Arc::clone(&back),
            outgoing: Arc::clone(&there),
            local: client,
            peer: server,
            counters: None,
            backend: None,
            on_close: None,
        };
        let far = Self {
            incoming: there,
            outgoing: back,
            local: server,
            peer: client,
            counters: None,
            backend: None,
            on_close: None,
        };
        (near, far)
    }

    /// Counts what goes through this side.
    #[must_use]
    pub(crate) fn counted(mut self, counters: &Arc<Counters>) -> Self {
        self.counters = Some(Arc::clone(counters));
        self
    }

    /// The address on the other side as the program was told it, such as a Service's.
    #[must_use]
    pub(crate) fn seen_as(mut self, peer: SocketAddr) -> Self {
        self.peer = peer;
        self
    }

    #[must_use]
    pub(crate) fn of_backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// The pod that a Service chose for this connection, to say how it went.
    #[must_use]
    pub fn backend(&self) -> Option<Backend> {
        self.backend.clone()
    }

    /// Calls `ended` when this side is dropped, after what is to be called already.
    #[must_use]
    pub(crate) fn on_close(mut self, ended: Box<dyn FnOnce() + Send + Sync>) -> Self {
        self.on_close = Some(match self.on_close.take() {
            None => ended,
            Some(before) => Box::new(move || {
                before();
                ended();
            }),
        });
        self
    }

    /// Keeps `held` until this side is dropped.
    #[must_use]
    pub(crate) fn holding<T: Send + Sync + 'static>(self, held: T) -> Self {
        self.on_close(Box::new(move || drop(held)))
    }

    /// This side's address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The other side's address.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Reads at most `limit` bytes; `None` is the end.
    ///
    /// # Errors
    /// `WouldBlock`, `ConnectionReset`.
    pub fn try_read(&self, limit: usize) -> Result<Option<Bytes>, NetError> {
        let chunk = self.incoming.try_read(limit)?;
        if let (Some(chunk), Some(counters)) = (&chunk, &self.counters) {
            counters.received(chunk.len());
        }
        Ok(chunk)
    }

    /// Writes as much of `bytes` as there is room for, takes it off `bytes` and says how much that was.
    ///
    /// # Errors
    /// `WouldBlock`, `ConnectionReset`, `InvalidState` after the writing side was shut down.
    pub fn try_write(&self, bytes: &mut Bytes) -> Result<usize, NetError> {
        let written = self.outgoing.try_write(bytes)?;
        if let Some(counters) = &self.counters {
            counters.sent(written);
        }
        Ok(written)
    }

    /// How many bytes can be written now.
    ///
    /// # Errors
    /// `ConnectionReset`, `InvalidState`.
    pub fn room(&self) -> Result<usize, NetError> {
        self.outgoing.room()
    }

    /// Ready when a read yields bytes, the end or an error.
    pub fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        self.incoming.poll_readable(context)
    }

    /// Ready when a write takes bytes or fails.
    pub fn poll_writable(&self, context: &Context<'_>) -> Poll<()> {
        self.outgoing.poll_writable(context)
    }

    /// Waits until a read yields bytes, the end or an error.
    pub async fn readable(&self) {
        poll_fn(|context| self.poll_readable(context)).await;
    }

    /// Waits until a write takes bytes or fails.
    pub async fn writable(&self) {
        poll_fn(|context| self.poll_writable(context)).await;
    }

    /// Whether everything written has been read by the other side.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.outgoing.is_drained()
    }

    /// Whether reading would give the end or an error, now and always.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.incoming.is_at_end()
    }

    /// Nothing more will be read here: reading yields the end. The other side does not notice, as on Linux.
    pub fn shutdown_read(&self) {
        self.incoming.discard();
    }

    /// Nothing more will be written here: the other side reads to the end.
    pub fn shutdown_write(&self) {
        self.outgoing.finish();
    }

    /// Breaks the connection for both sides.
    pub fn reset(&self) {
        self.incoming.reset();
        self.outgoing.reset();
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        // Whoever goes without having read everything breaks the connection, so that the other side does not take it for a goodbye.
        if self.incoming.has_unread() {
            self.outgoing.break_off();
        } else {
            self.outgoing.finish();
        }
        self.incoming.abandon();
        if let Some(ended) = self.on_close.take() {
            ended();
        }
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_readable(context));
            match self.try_read(buffer.remaining()) {
                Ok(Some(chunk)) => {
                    buffer.put_slice(&chunk);
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => return Poll::Ready(Ok(())),
                // Another task of this side was faster.
                Err(NetError::WouldBlock) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            ready!(self.poll_writable(context));
            let room = match self.room() {
                Ok(0) => continue,
                Ok(room) => room,
                Err(error) => return Poll::Ready(Err(broken(error))),
            };
            let mut chunk =
                Bytes::copy_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or(bytes));
            match self.try_write(&mut chunk) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(NetError::WouldBlock) => {}
                Err(error) => return Poll::Ready(Err(broken(error))),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

/// Writing where nobody reads is a broken pipe.
fn broken(error: NetError) -> io::Error {
    match error {
        NetError::InvalidState => io::ErrorKind::BrokenPipe.into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        TcpStream::pair(
            "10.0.0.1:40000".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
        )
    }

    #[tokio::test]
    async fn both_directions_carry_and_close_apart() {
        let (mut client, mut server) = pair();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        heard.clear();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "answer");
        assert_eq!(
            client.write_all(b"x").await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[tokio::test]
    async fn whoever_goes_with_bytes_unread_resets_after_its_last_word() {
        let (mut client, mut server) = pair();
        client.write_all(b"ignored").await.unwrap();
        server.write_all(b"bye").await.unwrap();
        drop(server);
        let mut heard = [0; 3];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"bye");
        let reset = client.read(&mut heard).await.unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn after_shutting_down_reading_the_end_is_read_and_writing_goes_on() {
        let (mut client, mut server) = pair();
        client.write_all(b"lost").await.unwrap();
        server.shutdown_read();
        assert_eq!(server.try_read(9), Ok(None));
        client.write_all(b"lost too").await.unwrap();
        server.write_all(b"heard").await.unwrap();
        drop(server);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "heard");
    }

    #[tokio::test]
    async fn writing_to_who_has_gone_is_a_reset() {
        let (mut client, server) = pair();
        drop(server);
        assert_eq!(
            client.write_all(b"x").await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
