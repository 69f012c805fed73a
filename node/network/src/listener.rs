//! A listening port: connections wait in a bounded queue until the program accepts them. The queue belongs to the host, so that a program may
//! end and come back while its callers wait.

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use parking_lot::Mutex;

use crate::{
    counters::Counters, error::NetError, stack::PodStack, stream::TcpStream, wakers::Wakers,
};

/// The most connections that wait to be accepted, whatever the program asks for (Linux' `somaxconn`).
pub const BACKLOG_LIMIT: usize = 4096;
/// What a program gets that does not say.
pub const BACKLOG: usize = 128;

/// Who serves a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// A program accepts.
    Open,
    /// The program has ended and will be back: connections wait.
    Parked,
    /// Nobody will: connections are refused.
    Closed,
}

/// The queue of a port.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) address: SocketAddr,
    inner: Mutex<Inner>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<TcpStream>,
    backlog: usize,
    service: Service,
    acceptors: Wakers,
    /// Connectors that found the queue full or parked.
    connectors: Wakers,
}

impl Queue {
    pub(crate) fn new(address: SocketAddr, counters: Arc<Counters>) -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            backlog: BACKLOG,
            service: Service::Open,
            acceptors: Wakers::default(),
            connectors: Wakers::default(),
        };
        Self {
            address,
            inner: Mutex::new(inner),
            counters,
        }
    }

    pub(crate) fn service(&self) -> Service {
        self.inner.lock().service
    }

    /// Hands over a connection made by `make`, once there is room. Not ready: the queue is full, or parked with as many waiting as it takes.
    pub(crate) fn poll_connect(
        &self,
        context: &Context<'_>,
        make: impl FnOnce() -> (TcpStream, TcpStream),
    ) -> Poll<Result<TcpStream, NetError>> {
        let mut inner = self.inner.lock();
        if inner.service == Service::Closed {
            return Poll::Ready(Err(NetError::ConnectionRefused));
        }
        if inner.waiting.len() >= inner.backlog {
            inner.connectors.register(context);
            return Poll::Pending;
        }
        let (near, far) = make();
        inner.waiting.push_back(far.counted(&self.counters));
        let acceptors = inner.acceptors.take();
        drop(inner);
        acceptors.wake();
        Poll::Ready(Ok(near))
    }

    pub(crate) fn reopen(&self, backlog: usize) {
        let mut inner = self.inner.lock();
        inner.service = Service::Open;
        inner.backlog = backlog.clamp(1, BACKLOG_LIMIT);
        let connectors = inner.connectors.take();
        drop(inner);
        connectors.wake();
    }

    pub(crate) fn park(&self) {
        self.inner.lock().service = Service::Parked;
    }

    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.service = Service::Closed;
        let refused = std::mem::take(&mut inner.waiting);
        let (acceptors, connectors) = (inner.acceptors.take(), inner.connectors.take());
        drop(inner);
        for stream in refused {
            stream.reset();
        }
        acceptors.wake();
        connectors.wake();
    }

    /// No new connections; those already waiting are still accepted.
    pub(crate) fn drain(&self) {
        let mut inner = self.inner.lock();
        inner.service = Service::Closed;
        let (acceptors, connectors) = (inner.acceptors.take(), inner.connectors.take());
        drop(inner);
        acceptors.wake();
        connectors.wake();
    }

    fn try_accept(&self) -> Result<TcpStream, NetError> {
        let mut inner = self.inner.lock();
        if let Some(stream) = inner.waiting.pop_front() {
            let connectors = inner.connectors.take();
            drop(inner);
            connectors.wake();
            self.counters.accepted();
            return Ok(stream);
        }
        match inner.service {
            Service::Closed => Err(NetError::ConnectionAborted),
            Service::Open | Service::Parked => Err(NetError::WouldBlock),
        }
    }

    fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if !inner.waiting.is_empty() || inner.service == Service::Closed {
            return Poll::Ready(());
        }
        inner.acceptors.register(context);
        Poll::Pending
    }
}

/// A program's hold on a listening port. Dropping it closes the port, or parks it while the pod's container restarts.
#[derive(Debug)]
pub struct TcpListener {
    queue: Arc<Queue>,
    stack: Weak<PodStack>,
}

impl TcpListener {
    pub(crate) fn new(queue: Arc<Queue>, stack: Weak<PodStack>) -> Self {
        Self { queue, stack }
    }

    /// The address listened on, with its real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.queue.address
    }

    /// How many connections may wait from now on.
    pub fn set_backlog(&self, backlog: usize) {
        self.queue.inner.lock().backlog = backlog.clamp(1, BACKLOG_LIMIT);
    }

    /// The next waiting connection.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `ConnectionAborted` when there will be none any more, because the pod stops.
    pub fn try_accept(&self) -> Result<TcpStream, NetError> {
        self.queue.try_accept()
    }

    /// Ready when [`TcpListener::try_accept`] would not block.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        self.queue.poll_ready(context)
    }

    /// Waits until [`TcpListener::try_accept`] would not block.
    pub async fn ready(&self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// `ConnectionAborted` when there will be none any more.
    pub async fn accept(&self) -> Result<TcpStream, NetError> {
        loop {
            match self.try_accept() {
                Err(NetError::WouldBlock) => self.ready().await,
                other => return other,
            }
        }
    }

    /// Stops taking connections; those waiting can still be accepted, then accepting fails.
    pub fn drain(&self) {
        self.queue.drain();
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        match self.stack.upgrade() {
            Some(stack) => stack.release(&self.queue),
            None => self.queue.close(),
        }
    }
}
