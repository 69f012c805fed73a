//! A pod's network namespace, shared by its containers: its own loopback, its address, its ports.

use std::{
    future::{Future, poll_fn},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{
    connections::Connections,
    counters::{Counters, Traffic},
    dns,
    error::NetError,
    listener::{Queue, Service, TcpListener},
    node_port::HostPort,
    policy::PodFacts,
    ports::{Ports, TcpBinding},
    stream::TcpStream,
    switch::Switch,
    udp::UdpPorts,
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

/// How many connections a pod can be making at once.
const CONNECTING_LIMIT: usize = 4096;

/// The network namespace.
#[derive(Debug)]
pub struct PodStack {
    identity: PodIdentity,
    /// The pod's addresses, the main one first: at most one of a family.
    addresses: Vec<IpAddr>,
    switch: Weak<Switch>,
    pub(crate) ports: Mutex<Ports>,
    pub(crate) udp: UdpPorts,
    connections: Arc<Connections>,
    connecting: Mutex<usize>,
    /// The node's ports that lead here.
    host_ports: Mutex<Vec<HostPort>>,
    /// What policies need to know.
    facts: RwLock<Arc<PodFacts>>,
    /// While set, a listener that goes is parked instead of closed.
    restarting: AtomicBool,
    pub(crate) counters: Arc<Counters>,
    pub(crate) this: Weak<PodStack>,
}

impl PodStack {
    pub(crate) fn new(identity: PodIdentity, more: &[IpAddr], switch: Weak<Switch>) -> Arc<Self> {
        let facts = PodFacts {
            namespace: identity.namespace.clone(),
            name: identity.name.clone(),
            ..PodFacts::default()
        };
        let addresses = std::iter::once(identity.ip)
            .chain(more.iter().copied())
            .collect();
        Arc::new_cyclic(|this| Self {
            identity,
            addresses,
            switch,
            ports: Mutex::default(),
            udp: UdpPorts::default(),
            connections: Arc::default(),
            connecting: Mutex::new(0),
            host_ports: Mutex::default(),
            facts: RwLock::new(Arc::new(facts)),
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

    /// The pod's addresses, the main one first.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Holds an address and port. Port 0 chooses a free one.
    ///
    /// # Errors
    /// `AddressNotBindable` for addresses of others, `InvalidArgument` for those that are nobody's alone, `AddressInUse`, `NewSocketLimit`,
    /// `InvalidState` when the pod has stopped.
    pub fn tcp_bind(&self, address: SocketAddr) -> Result<TcpBinding, NetError> {
        let stack = self.this.upgrade().ok_or(NetError::InvalidState)?;
        if !is_unicast(address.ip()) {
            return Err(NetError::InvalidArgument);
        }
        self.check_bindable(address.ip())?;
        let address = self.ports.lock().hold(address, &self.connections)?;
        Ok(TcpBinding { stack, address })
    }

    pub(crate) fn check_bindable(&self, ip: IpAddr) -> Result<(), NetError> {
        if self.is_own(ip) || ip.is_unspecified() {
            Ok(())
        } else {
            Err(NetError::AddressNotBindable)
        }
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
            stack.connect_counted(address, None).await
        }
    }

    pub(crate) async fn connect_counted(
        self: &Arc<Self>,
        target: SocketAddr,
        bound: Option<SocketAddr>,
    ) -> Result<TcpStream, NetError> {
        let _permit = self.begin_connecting()?;
        let connected = self.connect(target, bound).await;
        match &connected {
            Ok(_) => self.counters.connected(),
            Err(_) => self.counters.refused(),
        }
        connected.map(|stream| stream.counted(&self.counters))
    }

    async fn connect(
        &self,
        target: SocketAddr,
        bound: Option<SocketAddr>,
    ) -> Result<TcpStream, NetError> {
        // A connection to the unspecified address is one to oneself, as on Linux.
        let ip = match target.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let target = SocketAddr::new(ip, target.port());
        let source = self.source_for(bound.map(|bound| bound.ip()), ip)?;
        let reserved = match bound {
            Some(bound) => self
                .connections
                .reserve_from(SocketAddr::new(source, bound.port()), target)?,
            None => self.connections.reserve(source, target)?,
        };
        let source = reserved.source();
        let stream = if self.is_own(ip) {
            self.offer(target, source).await?
        } else {
            let switch = self.switch.upgrade().ok_or(NetError::RemoteUnreachable)?;
            switch.connect(source, target).await?
        };
        Ok(stream.holding(reserved))
    }

    /// The address that what goes to `target` comes from, when the socket was bound to `bound`.
    ///
    /// # Errors
    /// `RemoteUnreachable` when the pod has no address of the target's family, `InvalidArgument` when it would leave from loopback: both as Linux.
    pub(crate) fn source_for(
        &self,
        bound: Option<IpAddr>,
        target: IpAddr,
    ) -> Result<IpAddr, NetError> {
        if let Some(bound) = bound
            && !bound.is_unspecified()
        {
            return if bound.is_loopback() && !self.is_own(target) {
                Err(NetError::InvalidArgument)
            } else {
                Ok(bound)
            };
        }
        if target.is_loopback() {
            return Ok(if target.is_ipv4() {
                Ipv4Addr::LOCALHOST.into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            });
        }
        if self.is_own(target) {
            return Ok(target);
        }
        let of_family = |own: &&IpAddr| own.is_ipv4() == target.is_ipv4();
        let own = self.addresses.iter().find(of_family);
        own.copied().ok_or(NetError::RemoteUnreachable)
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

    /// Has ports of the node lead to the pod. Whoever opens them is told by [`Switch::changes`].
    pub fn set_host_ports(&self, ports: Vec<HostPort>) {
        *self.host_ports.lock() = ports;
        if let Some(switch) = self.switch.upgrade() {
            switch.changed();
        }
    }

    /// Says what policies need to know of the pod. Connections that exist are not touched.
    pub fn set_facts(&self, facts: PodFacts) {
        if *self.facts() == facts {
            return;
        }
        let facts = Arc::new(facts);
        *self.facts.write() = Arc::clone(&facts);
        self.udp.conversations.lock().clear();
        if let Some(switch) = self.switch.upgrade() {
            switch.tell(&self.addresses, Some(&facts));
        }
    }

    pub(crate) fn facts(&self) -> Arc<PodFacts> {
        Arc::clone(&self.facts.read())
    }

    pub(crate) fn host_ports(&self) -> Vec<HostPort> {
        self.host_ports.lock().clone()
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
        self.udp.close();
        if let Some(switch) = self.switch.upgrade() {
            switch.detach(self);
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

    /// Whether packets to an address stay in the pod.
    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.addresses.contains(&ip)
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    pub(crate) fn switch(&self) -> Option<Arc<Switch>> {
        self.switch.upgrade()
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

/// Whether an address is one host's.
pub(crate) fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_multicast(),
    }
}

#[cfg(test)]
mod tests;
