//! What connects the pods of a node with each other, with Services, and with the host's own business (probes, node ports). One per node.

mod consent;
mod datagrams;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use self::datagrams::Callers;
pub(crate) use self::datagrams::Outside;
use crate::{
    balance::{Backend, Balancer},
    dns::{self, Names},
    error::NetError,
    node_port::HostPort,
    policy::{Denial, PodFacts, Policies},
    service::Protocol,
    stack::{PodIdentity, PodStack},
    stream::TcpStream,
    topology::Backends,
    vip::{TableOp, Vip, VipKey, VipTable},
};

/// Datagrams that may wait for another node to tell of its pod.
const ASKING: usize = 256;

/// Connections of pods to the DNS server.
const DNS_CONNECTIONS: usize = 256;

/// How a switch is set up.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// The domain that Services' names end in.
    pub cluster_domain: String,
    /// The address that the host's own connections to pods come from.
    pub host_ip: IpAddr,
    /// Where pods may ask for names by DNS; nowhere if it is not given.
    pub dns_ip: Option<IpAddr>,
    /// How long a connection waits for a listener whose queue is full or whose container restarts.
    pub connect_timeout: Duration,
}

/// A connection being made to another node.
pub type Dialing = Pin<Box<dyn Future<Output = Result<TcpStream, NetError>> + Send>>;

/// A question about a pod of another node.
pub type Asking = Pin<Box<dyn Future<Output = Result<Option<Arc<PodFacts>>, NetError>> + Send>>;

impl Default for SwitchConfig {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            host_ip: Ipv4Addr::new(169, 254, 1, 1).into(),
            dns_ip: None,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Reaches pods of other nodes.
pub trait Dialer: Send + Sync + 'static {
    /// Opens a connection to a pod that is not on this node. `None`: the address is no pod's.
    fn dial(&self, source: SocketAddr, target: SocketAddr) -> Option<Dialing>;

    /// Sends a datagram to a pod that is not on this node; that it was sent does not say that it arrives. `None`: the address is no pod's.
    fn send(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    ) -> Option<Result<(), NetError>>;

    /// What is known of a pod that is not on this node; `Some(None)`: it has to be asked for. `None`: the address is no pod's.
    fn known_facts(&self, ip: IpAddr) -> Option<Option<Option<Arc<PodFacts>>>>;

    /// Asks for a pod that is not on this node; `None`: nobody has the address.
    fn ask(&self, ip: IpAddr) -> Asking;

    /// Tells whoever asked before that a pod of this node is another now, or gone.
    fn tell(&self, ip: IpAddr, pod: Option<&PodFacts>);
}

/// The switch.
pub struct Switch {
    config: SwitchConfig,
    stacks: RwLock<HashMap<IpAddr, Arc<PodStack>>>,
    table: RwLock<VipTable>,
    balancers: Mutex<HashMap<VipKey, Arc<Mutex<Balancer>>>>,
    dialer: RwLock<Option<Arc<dyn Dialer>>>,
    /// Callers from outside that pods may answer by datagram: by their address as the pod sees it, and the pod's.
    outside: Mutex<Callers>,
    policies: RwLock<Arc<Policies>>,
    /// Datagrams that wait until another node has told of its pod.
    asking: Arc<Semaphore>,
    /// Connections to the DNS server.
    pub(crate) dns_connections: Arc<Semaphore>,
    /// Who is told of what policies deny.
    denials: RwLock<Option<tokio::sync::mpsc::Sender<Denial>>>,
    /// Counts changes of the table, for whoever follows it.
    changes: watch::Sender<u64>,
    this: std::sync::Weak<Switch>,
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Switch {
    /// A switch without pods and Services.
    #[must_use]
    pub fn new(config: SwitchConfig) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            config,
            stacks: RwLock::default(),
            table: RwLock::default(),
            balancers: Mutex::default(),
            dialer: RwLock::new(None),
            outside: Mutex::default(),
            policies: RwLock::default(),
            asking: Arc::new(Semaphore::new(ASKING)),
            dns_connections: Arc::new(Semaphore::new(DNS_CONNECTIONS)),
            denials: RwLock::default(),
            changes: watch::Sender::new(0),
            this: std::sync::Weak::clone(this),
        })
    }

    /// Gives a pod its network.
    ///
    /// # Errors
    /// `AddressInUse` when another pod has the address.
    pub fn attach(&self, identity: PodIdentity) -> Result<Arc<PodStack>, NetError> {
        self.attach_with(identity, &[])
    }

    /// Gives a pod its network with more addresses than its main one: of the other family, in a dual-stack cluster.
    ///
    /// # Errors
    /// `AddressInUse` when another pod has one of the addresses, `InvalidArgument` when two are of one family.
    pub fn attach_with(
        &self,
        identity: PodIdentity,
        more: &[IpAddr],
    ) -> Result<Arc<PodStack>, NetError> {
        let all: Vec<IpAddr> = [identity.ip].iter().chain(more).copied().collect();
        let of_v4 = all.iter().filter(|ip| ip.is_ipv4()).count();
        if of_v4 > 1 || all.len() - of_v4 > 1 {
            return Err(NetError::InvalidArgument);
        }
        let mut stacks = self.stacks.write();
        if all.iter().any(|ip| stacks.contains_key(ip)) {
            return Err(NetError::AddressInUse);
        }
        let stack = PodStack::new(identity, more, std::sync::Weak::clone(&self.this));
        for ip in all {
            stacks.insert(ip, Arc::clone(&stack));
        }
        Ok(stack)
    }

    /// Takes a pod off. [`PodStack::close`] calls it.
    pub(crate) fn detach(&self, stack: &PodStack) {
        let mut stacks = self.stacks.write();
        for ip in stack.addresses() {
            if stacks
                .get(ip)
                .is_some_and(|held| std::ptr::eq(Arc::as_ptr(held), stack))
            {
                stacks.remove(ip);
            }
        }
        drop(stacks);
        self.tell(stack.addresses(), None);
        if !stack.host_ports().is_empty() {
            self.changed();
        }
    }

    /// The node's ports that lead to pods, in the order of pods' addresses.
    pub(crate) fn host_ports(&self) -> Vec<(HostPort, IpAddr)> {
        let stacks = self.stacks.read();
        let mut ports: Vec<_> = stacks
            .iter()
            // Each pod once, by its main address.
            .filter(|(ip, stack)| **ip == stack.identity().ip)
            .flat_map(|(ip, stack)| stack.host_ports().into_iter().map(|port| (port, *ip)))
            .collect();
        drop(stacks);
        ports.sort_by_key(|(port, ip)| (*ip, *port));
        ports
    }

    /// Tells other nodes that asked for it what became of a pod.
    pub(crate) fn tell(&self, addresses: &[IpAddr], pod: Option<&PodFacts>) {
        if let Some(dialer) = self.dialer.read().as_ref() {
            for ip in addresses {
                dialer.tell(*ip, pod);
            }
        }
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The network of the pod with an address.
    #[must_use]
    pub fn stack(&self, ip: IpAddr) -> Option<Arc<PodStack>> {
        self.stacks.read().get(&ip).cloned()
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.config.connect_timeout
    }

    /// Uses `dialer` for pods of other nodes.
    pub fn set_dialer(&self, dialer: Arc<dyn Dialer>) {
        *self.dialer.write() = Some(dialer);
    }

    /// Changes the table of virtual addresses. Connections that exist are not touched.
    pub fn apply(&self, ops: Vec<TableOp>) {
        if ops.is_empty() {
            return;
        }
        let mut table = self.table.write();
        for op in ops {
            if let TableOp::Remove(key) = &op {
                self.balancers.lock().remove(key);
            }
            table.apply(op);
        }
        drop(table);
        self.changed();
    }

    /// Follows the table and the ports that lead to pods: changes each time one of them did.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads the table.
    pub fn with_table<T>(&self, read: impl FnOnce(&VipTable) -> T) -> T {
        read(&self.table.read())
    }

    pub(crate) fn with_names<T>(&self, read: impl FnOnce(&Names, &str) -> T) -> T {
        read(self.table.read().names(), &self.config.cluster_domain)
    }

    /// Connects as the host: to a pod or a Service.
    ///
    /// # Errors
    /// `ConnectionRefused`, `RemoteUnreachable`, `AccessDenied`, `Timeout`.
    pub async fn connect_from_host(&self, target: SocketAddr) -> Result<TcpStream, NetError> {
        self.connect(SocketAddr::new(self.config.host_ip, 0), target)
            .await
    }

    /// Connects `source`, which is outside the cluster, to a virtual address through its key: what a node port does. The pods see `source`.
    ///
    /// # Errors
    /// As [`Switch::connect_from_host`].
    pub async fn connect_to_service(
        &self,
        source: SocketAddr,
        key: VipKey,
    ) -> Result<TcpStream, NetError> {
        let vip = self.table.read().get(&key).cloned();
        let vip = vip.ok_or(NetError::ConnectionRefused)?;
        self.connect_to_vip(source, key, &vip, &vip.outside).await
    }

    /// Connects `source` to a Service, to a pod of this node or another, or refuses.
    pub(crate) async fn connect(
        &self,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Result<TcpStream, NetError> {
        let key = VipKey {
            ip: target.ip(),
            port: target.port(),
            protocol: Protocol::Tcp,
        };
        let vip = self.table.read().get(&key).cloned();
        if self.answers_dns(target, vip.as_deref()) {
            self.consent(source, target, Protocol::Tcp).await?;
            let switch = self.this.upgrade().ok_or(NetError::RemoteUnreachable)?;
            return switch.connect_to_dns(source, target);
        }
        match vip {
            Some(vip) => self.connect_to_vip(source, key, &vip, &vip.inside).await,
            None => self.connect_to_pod(source, target).await,
        }
    }

    async fn connect_to_vip(
        &self,
        source: SocketAddr,
        key: VipKey,
        vip: &Vip,
        backends: &Backends,
    ) -> Result<TcpStream, NetError> {
        if backends.is_elsewhere {
            // Upstream drops what policy leaves no endpoint for, so that another node is tried instead.
            tokio::time::sleep(self.config.connect_timeout).await;
            return Err(NetError::Timeout);
        }
        let balancer = self.balancer(key);
        let mut tried = Vec::new();
        let mut last = NetError::ConnectionRefused;
        loop {
            let picked = balancer.lock().pick(
                &backends.addresses,
                &tried,
                source.ip(),
                vip.affinity,
                Instant::now(),
            );
            let Some(backend) = picked else {
                return Err(last);
            };
            // Counted while it is being made, so that a burst is spread as well.
            let open = Open::begin(&balancer, backend);
            match self.connect_to_pod(source, backend).await {
                Ok(stream) => {
                    balancer.lock().succeeded(backend);
                    return Ok(stream
                        .seen_as(SocketAddr::new(key.ip, key.port))
                        .of_backend(Backend {
                            balancer: Arc::clone(&balancer),
                            address: backend,
                        })
                        .holding(open));
                }
                // Nothing has been sent yet, so another pod may have the connection.
                Err(error) => {
                    // That this caller may not go there says nothing about the pod.
                    if error != NetError::AccessDenied {
                        balancer.lock().failed(backend, Instant::now());
                    }
                    tracing::debug!(service = vip.service, %backend, %error, "a backend did not take a connection");
                    last = error;
                    tried.push(backend);
                }
            }
        }
    }

    pub(crate) async fn connect_to_pod(
        &self,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Result<TcpStream, NetError> {
        self.consent(source, target, Protocol::Tcp).await?;
        if let Some(stack) = self.stack(target.ip()) {
            return stack.offer(target, source).await;
        }
        let dialer = self.dialer.read().clone();
        if let Some(dialing) = dialer.and_then(|dialer| dialer.dial(source, target)) {
            return dialing.await;
        }
        Err(no_way(source, target))
    }

    /// Connects what comes from another node to a pod of this one.
    pub(crate) async fn connect_locally(
        &self,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Result<TcpStream, NetError> {
        self.consent(source, target, Protocol::Tcp).await?;
        match self.stack(target.ip()) {
            Some(stack) => stack.offer(target, source).await,
            None => Err(NetError::RemoteUnreachable),
        }
    }

    /// Whether this node answers DNS at an address, and no Service does.
    pub(super) fn answers_dns(&self, target: SocketAddr, vip: Option<&Vip>) -> bool {
        self.config.dns_ip == Some(target.ip())
            && target.port() == dns::server::PORT
            && vip.is_none_or(|vip| vip.inside == Backends::default())
    }

    fn balancer(&self, key: VipKey) -> Arc<Mutex<Balancer>> {
        Arc::clone(self.balancers.lock().entry(key).or_default())
    }
}

/// A connection counted with its backend.
struct Open {
    balancer: Arc<Mutex<Balancer>>,
    backend: SocketAddr,
}

impl Open {
    fn begin(balancer: &Arc<Mutex<Balancer>>, backend: SocketAddr) -> Self {
        balancer.lock().opened(backend);
        Self {
            balancer: Arc::clone(balancer),
            backend,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.balancer.lock().closed(self.backend);
    }
}

/// Why an address that is nobody's cannot be reached.
fn no_way(source: SocketAddr, target: SocketAddr) -> NetError {
    if is_reserved(target.ip()) {
        tracing::debug!(%source, %target, "denied: pods do not reach the host or what is beside it");
        return NetError::AccessDenied;
    }
    NetError::RemoteUnreachable
}

/// Addresses that are the host's or the link's: never a pod's to reach.
fn is_reserved(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_link_local() || ip.is_loopback() || ip.is_broadcast() || ip.is_multicast()
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_multicast() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
