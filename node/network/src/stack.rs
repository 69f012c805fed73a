//! A pod's network namespace, shared by its containers: its own loopback, its address, its ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    counters::{Counters, Traffic},
    dns,
    error::NetError,
    listener::{Queue, Service, TcpListener},
    stream::TcpStream,
    switch::Switch,
};

/// Whose network it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// The pod's address.
    pub ip: IpAddr,
    /// Its host name.
    pub hostname: String,
    /// The headless Service that names it, if any.
    pub subdomain: Option<String>,
}

/// Ports that are given to connections going out, as Linux' default range.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32768..=60999;
/// How many ports a pod can listen on.
const LISTENERS_LIMIT: usize = 1024;
/// How many connections a pod can be making at once.
const CONNECTING_LIMIT: usize = 4096;

/// The network namespace.
#[derive(Debug)]
pub struct PodStack {
    identity: PodIdentity,
    switch: Weak<Switch>,
    ports: Mutex<Ports>,
    next_port: AtomicU16,
    connecting: Mutex<usize>,
    /// While set, a listener that goes is parked instead of closed.
    restarting: AtomicBool,
    counters: Arc<Counters>,
    this: Weak<PodStack>,
}

#[derive(Debug, Default)]
struct Ports {
    /// Listening ports: by address and port.
    listening: BTreeMap<(IpAddr, u16), Arc<Queue>>,
    /// Bound, not listening.
    bound: BTreeSet<(IpAddr, u16)>,
    /// No new listeners or connections.
    closed: bool,
}

/// A port held but not listened on yet. Dropping it gives it back.
#[derive(Debug)]
pub struct TcpBinding {
    stack: Arc<PodStack>,
    address: SocketAddr,
}

impl PodStack {
    pub(crate) fn new(identity: PodIdentity, switch: Weak<Switch>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            identity,
            switch,
            ports: Mutex::default(),
            next_port: AtomicU16::new(*EPHEMERAL.start()),
            connecting: Mutex::new(0),
            restarting: AtomicBool::new(false),
            counters: Arc::default(),
            this: Weak::clone(this),
        })
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &PodIdentity {
        &self.identity
    }

    /// What went through.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.counters.read()
    }

    /// Holds an address and port. Port 0 chooses a free one.
    ///
    /// # Errors
    /// `AddressNotBindable` for addresses of others, `AddressInUse`, `NewSocketLimit`, `InvalidState` when the pod has stopped.
    pub fn tcp_bind(&self, address: SocketAddr) -> Result<TcpBinding, NetError> {
        let stack = self.this.upgrade().ok_or(NetError::InvalidState)?;
        if !self.is_own(address.ip()) && !address.ip().is_unspecified() {
            return Err(NetError::AddressNotBindable);
        }
        let mut ports = self.ports.lock();
        if ports.closed {
            return Err(NetError::InvalidState);
        }
        if ports.bound.len() + ports.listening.len() >= LISTENERS_LIMIT {
            return Err(NetError::NewSocketLimit);
        }
        let port = match address.port() {
            0 => self
                .free_port(&ports, address.ip())
                .ok_or(NetError::AddressInUse)?,
            port if ports.is_taken(address.ip(), port) => return Err(NetError::AddressInUse),
            port => port,
        };
        ports.bound.insert((address.ip(), port));
        drop(ports);
        Ok(TcpBinding {
            stack,
            address: SocketAddr::new(address.ip(), port),
        })
    }

    /// [`PodStack::tcp_bind`] and [`TcpBinding::listen`] in one.
    ///
    /// # Errors
    /// As they.
    pub fn tcp_listen(&self, address: SocketAddr, backlog: usize) -> Result<TcpListener, NetError> {
        self.tcp_bind(address)?.listen(backlog)
    }

    /// Connects to an address: of this pod, of another, or of a Service.
    ///
    /// # Errors
    /// The future fails with `ConnectionRefused`, `RemoteUnreachable`, `AccessDenied`, `Timeout`, `NewSocketLimit`.
    pub fn tcp_connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = Result<TcpStream, NetError>> + Send + 'static {
        let stack = self.this.upgrade();
        async move {
            let stack = stack.ok_or(NetError::InvalidState)?;
            let _permit = stack.begin_connecting()?;
            let connected = stack.connect(address).await;
            match &connected {
                Ok(_) => stack.counters.connected(),
                Err(_) => stack.counters.refused(),
            }
            connected.map(|stream| stream.counted(&stack.counters))
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, NetError> {
        // A connection to the unspecified address is one to oneself, as on Linux.
        let target = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let address = SocketAddr::new(target, address.port());
        if self.is_own(target) {
            let source = SocketAddr::new(target, self.source_port());
            return self.offer(address, source).await;
        }
        let switch = self.switch.upgrade().ok_or(NetError::RemoteUnreachable)?;
        let source = SocketAddr::new(self.identity.ip, self.source_port());
        switch.connect(source, address).await
    }

    /// Makes a connection from `source` to a listening port of this stack, waiting while its queue is full or parked.
    pub(crate) async fn offer(
        &self,
        address: SocketAddr,
        source: SocketAddr,
    ) -> Result<TcpStream, NetError> {
        let connecting = poll_fn(|context| {
            // Looked up each time: a parked port may be taken over by a new listener.
            let queue = self.ports.lock().listener(address.ip(), address.port());
            match queue {
                Some(queue) => queue.poll_connect(context, || TcpStream::pair(source, address)),
                None => std::task::Poll::Ready(Err(NetError::ConnectionRefused)),
            }
        });
        let limit = self
            .switch
            .upgrade()
            .ok_or(NetError::RemoteUnreachable)?
            .connect_timeout();
        tokio::time::timeout(limit, connecting)
            .await
            .unwrap_or(Err(NetError::Timeout))
    }

    /// Whether anybody listens, or will again, on a port.
    #[must_use]
    pub fn listens_on(&self, port: u16) -> bool {
        self.ports.lock().listener(self.identity.ip, port).is_some()
    }

    /// The addresses that a name stands for in this pod.
    ///
    /// # Errors
    /// `NameUnresolvable`, `InvalidArgument` when it is no name.
    pub fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        let switch = self.switch.upgrade().ok_or(NetError::NameUnresolvable)?;
        switch.with_names(|names, domain| dns::lookup(name, &self.identity, names, domain))
    }

    /// While `restarting`, ports of listeners that are dropped stay parked: callers wait for the next listener instead of being refused. Setting
    /// it to false does not close what is parked; [`PodStack::close_parked`] does.
    pub fn set_restarting(&self, restarting: bool) {
        self.restarting.store(restarting, Ordering::Release);
    }

    /// Refuses the callers that wait for a listener to come back.
    pub fn close_parked(&self) {
        let mut ports = self.ports.lock();
        let parked: Vec<_> = ports
            .listening
            .iter()
            .filter(|(_, queue)| queue.service() == Service::Parked)
            .map(|(key, _)| *key)
            .collect();
        let closed: Vec<_> = parked
            .iter()
            .filter_map(|key| ports.listening.remove(key))
            .collect();
        drop(ports);
        for queue in closed {
            queue.close();
        }
    }

    /// Takes no new connections on any port; those open go on, those waiting can still be accepted.
    pub fn drain(&self) {
        let queues: Vec<_> = self.ports.lock().listening.values().cloned().collect();
        for queue in queues {
            queue.drain();
        }
    }

    /// Ends the network of the pod: ports close, and it is off the switch.
    pub fn close(&self) {
        let mut ports = self.ports.lock();
        ports.closed = true;
        let queues = std::mem::take(&mut ports.listening);
        drop(ports);
        for queue in queues.into_values() {
            queue.close();
        }
        if let Some(switch) = self.switch.upgrade() {
            switch.detach(&self.identity);
        }
    }

    /// What becomes of a port whose listener is dropped.
    pub(crate) fn release(&self, queue: &Arc<Queue>) {
        let mut ports = self.ports.lock();
        if self.restarting.load(Ordering::Acquire)
            && !ports.closed
            && queue.service() == Service::Open
        {
            queue.park();
            return;
        }
        let key = (queue.address.ip(), queue.address.port());
        if ports
            .listening
            .get(&key)
            .is_some_and(|held| Arc::ptr_eq(held, queue))
        {
            ports.listening.remove(&key);
        }
        drop(ports);
        queue.close();
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip == self.identity.ip
    }

    fn source_port(&self) -> u16 {
        let next = |port: u16| {
            Some(if port >= *EPHEMERAL.end() {
                *EPHEMERAL.start()
            } else {
                port + 1
            })
        };
        // The update function never declines.
        self.next_port
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .unwrap_or(*EPHEMERAL.start())
    }

    fn free_port(&self, ports: &Ports, ip: IpAddr) -> Option<u16> {
        let start = self.source_port();
        let all = (start..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..start);
        all.into_iter().find(|port| !ports.is_taken(ip, *port))
    }

    fn begin_connecting(self: &Arc<Self>) -> Result<Connecting, NetError> {
        let mut connecting = self.connecting.lock();
        if *connecting >= CONNECTING_LIMIT {
            return Err(NetError::NewSocketLimit);
        }
        *connecting += 1;
        Ok(Connecting(Arc::clone(self)))
    }
}

/// Counts a connection being made.
struct Connecting(Arc<PodStack>);

impl Drop for Connecting {
    fn drop(&mut self) {
        *self.0.connecting.lock() -= 1;
    }
}

impl Ports {
    /// Whether `ip` and `port` collide with what is bound: the unspecified address collides with every one. A parked port may be taken over.
    fn is_taken(&self, ip: IpAddr, port: u16) -> bool {
        let collides = |other: IpAddr| other == ip || other.is_unspecified() || ip.is_unspecified();
        let listening = self
            .listening
            .iter()
            .filter(|(_, queue)| queue.service() == Service::Open);
        self.bound
            .iter()
            .chain(listening.map(|(key, _)| key))
            .any(|(other, taken)| *taken == port && collides(*other))
    }

    /// Who listens on an address, itself or every one of its kind.
    fn listener(&self, ip: IpAddr, port: u16) -> Option<Arc<Queue>> {
        let any: IpAddr = if ip.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        // A socket on [::] takes IPv4 connections too, as on Linux with its default settings.
        let candidates = [ip, any, Ipv6Addr::UNSPECIFIED.into()];
        candidates
            .iter()
            .find_map(|ip| self.listening.get(&(*ip, port)))
            .cloned()
    }
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

#[cfg(test)]
mod tests;
