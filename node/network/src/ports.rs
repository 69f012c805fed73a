//! The TCP ports of a pod: who listens where, what is held without listening. Pure bookkeeping.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Weak},
};

use crate::{
    connections::Connections,
    error::NetError,
    listener::{Queue, Service, TcpListener},
    stack::PodStack,
    stream::TcpStream,
};

/// How many ports a pod can listen on.
const LISTENERS_LIMIT: usize = 1024;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// Listening ports: by address and port.
    pub(crate) listening: BTreeMap<(IpAddr, u16), Arc<Queue>>,
    /// Bound, not listening.
    bound: BTreeSet<(IpAddr, u16)>,
    /// No new listeners or connections.
    pub(crate) closed: bool,
}

/// The address that stands for all of a family.
pub(crate) fn any(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

impl Ports {
    /// Holds a port; 0 chooses one that is free.
    pub(crate) fn hold(
        &mut self,
        address: SocketAddr,
        connections: &Connections,
    ) -> Result<SocketAddr, NetError> {
        if self.closed {
            return Err(NetError::InvalidState);
        }
        if self.bound.len() + self.listening.len() >= LISTENERS_LIMIT {
            return Err(NetError::NewSocketLimit);
        }
        let ip = address.ip();
        let port = match address.port() {
            0 => connections
                .ports()
                .find(|port| !self.is_taken(ip, *port))
                .ok_or(NetError::AddressInUse)?,
            port if self.is_taken(ip, port) => return Err(NetError::AddressInUse),
            port => port,
        };
        self.bound.insert((ip, port));
        Ok(SocketAddr::new(ip, port))
    }

    /// Whether `ip` and `port` collide with what is bound: the unspecified address collides with every one of its family, and with no other, as
    /// sockets of WASI are of one family alone. A parked port may be taken over.
    fn is_taken(&self, ip: IpAddr, port: u16) -> bool {
        let collides = |other: IpAddr| {
            other.is_ipv4() == ip.is_ipv4()
                && (other == ip || other.is_unspecified() || ip.is_unspecified())
        };
        let listening = self
            .listening
            .iter()
            .filter(|(_, queue)| queue.service() == Service::Open);
        self.bound
            .iter()
            .chain(listening.map(|(key, _)| key))
            .any(|(other, taken)| *taken == port && collides(*other))
    }

    /// Who listens on an address, itself or every one of its family.
    pub(crate) fn listener(&self, ip: IpAddr, port: u16) -> Option<Arc<Queue>> {
        [ip, any(ip)]
            .iter()
            .find_map(|ip| self.listening.get(&(*ip, port)))
            .cloned()
    }
}

/// A port held but not listened on. Dropping it gives it back.
#[derive(Debug)]
pub struct TcpBinding {
    pub(crate) stack: Arc<PodStack>,
    pub(crate) address: SocketAddr,
}

impl TcpBinding {
    /// The address held.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Begins to listen. A port that was parked is taken over with whoever waits at it.
    ///
    /// # Errors
    /// `InvalidState` when the pod has stopped.
    pub fn listen(self, backlog: usize) -> Result<TcpListener, NetError> {
        let key = (self.address.ip(), self.address.port());
        let mut ports = self.stack.ports.lock();
        if ports.closed {
            return Err(NetError::InvalidState);
        }
        let fresh = || Arc::new(Queue::new(self.address, Arc::clone(&self.stack.counters)));
        let queue = Arc::clone(ports.listening.entry(key).or_insert_with(fresh));
        drop(ports);
        queue.reopen(backlog);
        Ok(TcpListener::new(queue, Weak::clone(&self.stack.this)))
    }

    /// Connects from the port held, which stays held as long as the connection.
    ///
    /// # Errors
    /// The future fails as that of [`PodStack::tcp_connect`], and with `InvalidArgument` when no way leads from the address held to `target`.
    pub async fn connect(self, target: SocketAddr) -> Result<TcpStream, NetError> {
        let stack = Arc::clone(&self.stack);
        let stream = stack.connect_counted(target, Some(self.address)).await?;
        Ok(stream.holding(self))
    }
}

impl Drop for TcpBinding {
    fn drop(&mut self) {
        self.stack
            .ports
            .lock()
            .bound
            .remove(&(self.address.ip(), self.address.port()));
    }
}
