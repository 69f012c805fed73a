//! UDP sockets of a pod: bounded queues of datagrams. Nothing is sent through the kernel, and nothing waits for room: what finds a full queue is lost,
//! as on a wire.

mod conversations;

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use self::conversations::Conversations;
use crate::{
    error::NetError,
    flows::Flows,
    ports::any,
    stack::{PodStack, is_unicast},
    wakers::Wakers,
};

/// UDP sockets of one pod.
const SOCKETS_LIMIT: usize = 1024;
/// What waits to be read at one socket, with what each datagram costs beside its bytes (Linux' `rmem_max`; its default is the same).
pub const RECEIVE_BUFFER: usize = 212_992;
/// The smallest receive buffer (Linux' `SOCK_MIN_RCVBUF`).
const RECEIVE_BUFFER_LEAST: usize = 2304;
/// What a datagram costs beside its bytes, so that empty ones are bounded too.
const OVERHEAD: usize = 256;
/// The most bytes in a datagram: 64 KiB less the headers of IPv4, or of IPv6.
const LARGEST_V4: usize = 65_507;
const LARGEST_V6: usize = 65_527;

/// What was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The bytes.
    pub data: Bytes,
    /// Whom it is from: a Service, if it is the answer of one of its pods.
    pub source: SocketAddr,
}

/// The UDP sockets of a pod.
#[derive(Debug, Default)]
pub(crate) struct UdpPorts {
    bound: RwLock<Bound>,
    /// Where the datagrams to Services go.
    pub(crate) flows: Mutex<Flows>,
    /// Whom policies have let through.
    pub(crate) conversations: Mutex<Conversations>,
}

#[derive(Debug, Default)]
struct Bound {
    sockets: HashMap<(IpAddr, u16), Arc<Port>>,
    closed: bool,
}

#[derive(Debug)]
struct Port {
    address: SocketAddr,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<Datagram>,
    size: usize,
    limit: usize,
    peer: Option<SocketAddr>,
    /// What is to be told next time: a datagram sent before was refused.
    error: Option<NetError>,
    closed: bool,
    readers: Wakers,
}

/// A socket. Dropping it frees its port.
#[derive(Debug)]
pub struct UdpSocket {
    port: Arc<Port>,
    stack: Arc<PodStack>,
}

impl PodStack {
    /// Binds a UDP socket. Port 0 chooses a free one.
    ///
    /// # Errors
    /// `AddressNotBindable` for addresses that are not the pod's, `AddressInUse`, `NewSocketLimit`, `InvalidState` when the pod has stopped.
    pub fn udp_bind(&self, address: SocketAddr) -> Result<UdpSocket, NetError> {
        let stack = self.this.upgrade().ok_or(NetError::InvalidState)?;
        let ip = address.ip();
        self.check_bindable(ip)?;
        let mut bound = self.udp.bound.write();
        if bound.closed {
            return Err(NetError::InvalidState);
        }
        if bound.sockets.len() >= SOCKETS_LIMIT {
            return Err(NetError::NewSocketLimit);
        }
        let number = match address.port() {
            0 => {
                let mut ports = self.connections().ports();
                ports
                    .find(|port| !bound.is_taken(ip, *port))
                    .ok_or(NetError::AddressInUse)?
            }
            port if bound.is_taken(ip, port) => return Err(NetError::AddressInUse),
            port => port,
        };
        let port = Arc::new(Port::new(SocketAddr::new(ip, number)));
        bound.sockets.insert((ip, number), Arc::clone(&port));
        drop(bound);
        Ok(UdpSocket { port, stack })
    }

    /// A datagram comes in for one of the pod's addresses.
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody has the port: what an ICMP message tells the sender. A full queue is no error.
    pub(crate) fn receive_datagram(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    ) -> Result<(), NetError> {
        let source = self.udp.shown_source(source, target);
        let port = self.udp.receiver(target, source);
        let port = port.ok_or(NetError::ConnectionRefused)?;
        let size = data.len();
        if port.push(Datagram { data, source }) {
            self.counters.received(size);
        } else {
            self.counters.dropped();
        }
        Ok(())
    }
}

impl UdpPorts {
    /// Whom a datagram is from as the pod sees it.
    fn shown_source(&self, source: SocketAddr, target: SocketAddr) -> SocketAddr {
        let mut flows = self.flows.lock();
        if flows.is_empty() {
            return source;
        }
        let service = flows.answer(target, source, Instant::now());
        service.map_or(source, |key| SocketAddr::new(key.ip, key.port))
    }

    /// The socket that takes what `source` sends to `target`.
    fn receiver(&self, target: SocketAddr, source: SocketAddr) -> Option<Arc<Port>> {
        let bound = self.bound.read();
        let candidates = [target.ip(), any(target.ip())];
        candidates
            .iter()
            .filter_map(|ip| bound.sockets.get(&(*ip, target.port())))
            .find(|port| port.takes_from(source))
            .cloned()
    }

    /// Ends all sockets, and takes no new ones.
    pub(crate) fn close(&self) {
        let mut bound = self.bound.write();
        bound.closed = true;
        let sockets = std::mem::take(&mut bound.sockets);
        drop(bound);
        for port in sockets.into_values() {
            port.change(|inner| inner.closed = true);
        }
    }
}

impl Bound {
    /// The unspecified address collides with every one of its family.
    fn is_taken(&self, ip: IpAddr, port: u16) -> bool {
        if ip.is_unspecified() {
            let mut taken = self.sockets.keys();
            return taken.any(|(other, number)| *number == port && other.is_ipv4() == ip.is_ipv4());
        }
        [ip, any(ip)]
            .iter()
            .any(|ip| self.sockets.contains_key(&(*ip, port)))
    }
}

impl Port {
    fn new(address: SocketAddr) -> Self {
        let inner = Inner {
            queue: VecDeque::new(),
            size: 0,
            limit: RECEIVE_BUFFER,
            peer: None,
            error: None,
            closed: false,
            readers: Wakers::default(),
        };
        Self {
            address,
            inner: Mutex::new(inner),
        }
    }

    fn takes_from(&self, source: SocketAddr) -> bool {
        let peer = self.inner.lock().peer;
        peer.is_none_or(|peer| peer == source)
    }

    /// Queues a datagram if there is room; says whether there was.
    fn push(&self, datagram: Datagram) -> bool {
        let mut inner = self.inner.lock();
        let cost = datagram.data.len() + OVERHEAD;
        // As on Linux, a buffer with anything left takes one more.
        if inner.size >= inner.limit {
            return false;
        }
        inner.size += cost;
        inner.queue.push_back(datagram);
        let readers = inner.readers.take();
        drop(inner);
        readers.wake();
        true
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock();
        change(&mut inner);
        let readers = inner.readers.take();
        drop(inner);
        readers.wake();
    }
}

impl UdpSocket {
    /// The socket's address. One that is bound to all addresses and connected has the address that its datagrams leave from, as on Linux.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let bound = self.port.address;
        let leaves_from = self.peer_addr().and_then(|peer| {
            let source = self.stack.source_for(Some(bound.ip()), peer.ip());
            source.ok()
        });
        SocketAddr::new(leaves_from.unwrap_or(bound.ip()), bound.port())
    }

    /// Whom the socket is connected to.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.port.inner.lock().peer
    }

    /// Connects, to somebody else than before, or to nobody any more. A connected socket receives from its peer alone: what others have sent already is
    /// thrown away.
    ///
    /// # Errors
    /// `InvalidArgument`, `RemoteUnreachable` when no way leads there.
    pub fn connect(&self, peer: Option<SocketAddr>) -> Result<(), NetError> {
        if let Some(peer) = peer {
            self.check_target(peer)?;
            self.stack
                .source_for(Some(self.port.address.ip()), peer.ip())?;
        }
        let mut inner = self.port.inner.lock();
        inner.peer = peer;
        inner.error = None;
        if let Some(peer) = peer {
            inner.queue.retain(|datagram| datagram.source == peer);
            let left = inner.queue.iter();
            inner.size = left.map(|datagram| datagram.data.len() + OVERHEAD).sum();
        }
        Ok(())
    }

    fn check_target(&self, target: SocketAddr) -> Result<(), NetError> {
        let is_of_family = target.is_ipv4() == self.port.address.is_ipv4();
        if !is_of_family || target.port() == 0 || target.ip().is_unspecified() {
            return Err(NetError::InvalidArgument);
        }
        match target.ip() {
            // `EACCES` without `SO_BROADCAST`.
            IpAddr::V4(ip) if ip.is_broadcast() => Err(NetError::AccessDenied),
            ip if !is_unicast(ip) => Err(NetError::RemoteUnreachable),
            _ => Ok(()),
        }
    }

    /// Sends to `target`, or to the peer. That it was sent does not say that it arrives.
    ///
    /// # Errors
    /// `InvalidArgument` without a target, with one that is none, or another than the peer; `DatagramTooLarge`; `AccessDenied`; `RemoteUnreachable`;
    /// on a connected socket `ConnectionRefused` for the datagram before.
    pub fn send(&self, data: Bytes, target: Option<SocketAddr>) -> Result<(), NetError> {
        let (peer, error) = {
            let mut inner = self.port.inner.lock();
            if inner.closed {
                return Err(NetError::InvalidState);
            }
            (inner.peer, inner.error.take())
        };
        if let Some(error) = error {
            return Err(error);
        }
        let target = match (target, peer) {
            (Some(target), Some(peer)) if target != peer => {
                return Err(NetError::InvalidArgument);
            }
            (Some(target), _) => target,
            (None, Some(peer)) => peer,
            (None, None) => return Err(NetError::InvalidArgument),
        };
        self.check_target(target)?;
        let largest = if target.is_ipv4() {
            LARGEST_V4
        } else {
            LARGEST_V6
        };
        if data.len() > largest {
            return Err(NetError::DatagramTooLarge);
        }
        let bound = self.port.address;
        let source = self.stack.source_for(Some(bound.ip()), target.ip())?;
        let source = SocketAddr::new(source, bound.port());
        let size = data.len();
        let sent = if self.stack.is_own(target.ip()) {
            self.stack.receive_datagram(source, target, data)
        } else {
            let switch = self.stack.switch().ok_or(NetError::RemoteUnreachable)?;
            switch.send_datagram(&self.stack.udp.flows, source, target, data)
        };
        match sent {
            Ok(()) => {
                self.stack.counters.sent(size);
                Ok(())
            }
            // Whoever is connected learns of it with its next call; others never, as on Linux.
            Err(NetError::ConnectionRefused) => {
                self.stack.counters.sent(size);
                self.port.change(|inner| {
                    if inner.peer.is_some() {
                        inner.error = Some(NetError::ConnectionRefused);
                    }
                });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The next datagram.
    ///
    /// # Errors
    /// `WouldBlock`; on a connected socket `ConnectionRefused` when nobody has the port that was sent to; `InvalidState` when the pod has stopped.
    pub fn try_recv(&self) -> Result<Datagram, NetError> {
        let mut inner = self.port.inner.lock();
        if let Some(error) = inner.error.take() {
            return Err(error);
        }
        match inner.queue.pop_front() {
            Some(datagram) => {
                inner.size -= datagram.data.len() + OVERHEAD;
                Ok(datagram)
            }
            None if inner.closed => Err(NetError::InvalidState),
            None => Err(NetError::WouldBlock),
        }
    }

    /// Ready when [`UdpSocket::try_recv`] would not block.
    pub fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        let mut inner = self.port.inner.lock();
        if !inner.queue.is_empty() || inner.error.is_some() || inner.closed {
            return Poll::Ready(());
        }
        inner.readers.register(context);
        Poll::Pending
    }

    /// Waits until [`UdpSocket::try_recv`] would not block.
    pub async fn readable(&self) {
        poll_fn(|context| self.poll_readable(context)).await;
    }

    /// Waits for the next datagram.
    ///
    /// # Errors
    /// As [`UdpSocket::try_recv`], apart from `WouldBlock`.
    pub async fn recv(&self) -> Result<Datagram, NetError> {
        loop {
            match self.try_recv() {
                Err(NetError::WouldBlock) => self.readable().await,
                other => return other,
            }
        }
    }

    /// Bounds what waits to be read; as on Linux, what is too much or too little is made to fit. Says what it is now.
    pub fn set_receive_buffer(&self, size: usize) -> usize {
        let size = size.clamp(RECEIVE_BUFFER_LEAST, RECEIVE_BUFFER);
        self.port.inner.lock().limit = size;
        size
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let key = (self.port.address.ip(), self.port.address.port());
        let mut bound = self.stack.udp.bound.write();
        if bound
            .sockets
            .get(&key)
            .is_some_and(|held| Arc::ptr_eq(held, &self.port))
        {
            bound.sockets.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
