//! What connects the pods of a node with each other, with Services, and with the host's own business (probes, node ports). One per node.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::{
    balance::Balancer,
    dns::Names,
    error::NetError,
    service::Protocol,
    stack::{PodIdentity, PodStack},
    stream::TcpStream,
    vip::{TableOp, Vip, VipKey, VipTable},
};

/// How a switch is set up.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// The domain that Services' names end in.
    pub cluster_domain: String,
    /// The address that the host's own connections to pods come from.
    pub host_ip: IpAddr,
    /// How long a connection waits for a listener whose queue is full or whose container restarts.
    pub connect_timeout: Duration,
}

/// A connection being made to another node.
pub type Dialing = Pin<Box<dyn Future<Output = Result<TcpStream, NetError>> + Send>>;

impl Default for SwitchConfig {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            host_ip: Ipv4Addr::new(169, 254, 1, 1).into(),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Reaches pods of other nodes.
pub trait Dialer: Send + Sync + 'static {
    /// Opens a connection to a pod that is not on this node. `None`: the address is no pod's.
    fn dial(&self, source: SocketAddr, target: SocketAddr) -> Option<Dialing>;
}

/// The switch.
pub struct Switch {
    config: SwitchConfig,
    stacks: RwLock<HashMap<IpAddr, Arc<PodStack>>>,
    table: RwLock<VipTable>,
    balancers: Mutex<HashMap<VipKey, Arc<Mutex<Balancer>>>>,
    dialer: RwLock<Option<Arc<dyn Dialer>>>,
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
            changes: watch::Sender::new(0),
            this: std::sync::Weak::clone(this),
        })
    }

    /// Gives a pod its network.
    ///
    /// # Errors
    /// `AddressInUse` when another pod has the address.
    pub fn attach(&self, identity: PodIdentity) -> Result<Arc<PodStack>, NetError> {
        let mut stacks = self.stacks.write();
        if stacks.contains_key(&identity.ip) {
            return Err(NetError::AddressInUse);
        }
        let stack = PodStack::new(identity.clone(), std::sync::Weak::clone(&self.this));
        stacks.insert(identity.ip, Arc::clone(&stack));
        Ok(stack)
    }

    /// Takes a pod off. [`PodStack::close`] calls it.
    pub(crate) fn detach(&self, identity: &PodIdentity) {
        let mut stacks = self.stacks.write();
        if stacks
            .get(&identity.ip)
            .is_some_and(|stack| stack.identity().uid == identity.uid)
        {
            stacks.remove(&identity.ip);
        }
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
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Follows the table: changes each time [`Switch::apply`] changed something.
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

    /// Connects `source` to a virtual address through its key: what a node port does. The pods see `source`.
    ///
    /// # Errors
    /// As [`Switch::connect_from_host`].
    pub async fn connect_to_service(
        &self,
        source: SocketAddr,
        key: VipKey,
    ) -> Result<TcpStream, NetError> {
        let vip = self
            .table
            .read()
            .get(&key)
            .cloned()
            .ok_or(NetError::ConnectionRefused)?;
        self.connect_to_vip(source, key, &vip).await
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
        match vip {
            Some(vip) => self.connect_to_vip(source, key, &vip).await,
            None => self.connect_to_pod(source, target).await,
        }
    }

    async fn connect_to_vip(
        &self,
        source: SocketAddr,
        key: VipKey,
        vip: &Vip,
    ) -> Result<TcpStream, NetError> {
        let balancer = Arc::clone(self.balancers.lock().entry(key).or_default());
        let mut tried = Vec::new();
        let mut last = NetError::ConnectionRefused;
        loop {
            let picked = balancer.lock().pick(
                &vip.backends,
                &tried,
                source.ip(),
                vip.affinity,
                Instant::now(),
            );
            let Some(backend) = picked else {
                return Err(last);
            };
            match self.connect_to_pod(source, backend).await {
                Ok(stream) => {
                    balancer.lock().opened(backend);
                    let balancer = Arc::clone(&balancer);
                    let ended = move || balancer.lock().closed(backend);
                    return Ok(stream
                        .seen_as(SocketAddr::new(key.ip, key.port))
                        .on_close(Box::new(ended)));
                }
                // Nothing has been sent yet, so another pod may have the connection.
                Err(error) => {
                    tracing::debug!(service = vip.service, %backend, %error, "a backend did not take a connection");
                    last = error;
                    tried.push(backend);
                }
            }
        }
    }

    async fn connect_to_pod(
        &self,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Result<TcpStream, NetError> {
        if let Some(stack) = self.stack(target.ip()) {
            return stack.offer(target, source).await;
        }
        let dialer = self.dialer.read().clone();
        if let Some(dialing) = dialer.and_then(|dialer| dialer.dial(source, target)) {
            return dialing.await;
        }
        if is_reserved(target.ip()) {
            tracing::debug!(%source, %target, "denied: pods do not reach the host or what is beside it");
            return Err(NetError::AccessDenied);
        }
        Err(NetError::RemoteUnreachable)
    }
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
mod tests {
    use super::*;
    use crate::{
        service::{Endpoint, EndpointSlice, Service, ServiceKind, ServicePort, SlicePort},
        vip,
    };

    fn world(switch: &Switch, backends: &[&str]) {
        let service = Service {
            namespace: "default".into(),
            name: "web".into(),
            kind: ServiceKind::Virtual,
            addresses: vec!["10.96.0.10".parse().unwrap()],
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: Some(30080),
            }],
            affinity: None,
            publish_not_ready: false,
        };
        let endpoint = |ip: &&str| Endpoint {
            addresses: vec![ip.parse().unwrap()],
            ready: true,
            serving: true,
            terminating: false,
            hostname: None,
        };
        let slice = EndpointSlice {
            namespace: "default".into(),
            service: "web".into(),
            ports: vec![SlicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 8080,
            }],
            endpoints: backends.iter().map(endpoint).collect(),
        };
        let table = vip::build(&[service], &[slice]);
        let ops = switch.with_table(|old| vip::diff(old, &table));
        switch.apply(ops);
    }

    fn pod(switch: &Switch, ip: &str) -> Arc<PodStack> {
        let identity = PodIdentity {
            namespace: "default".into(),
            name: ip.into(),
            uid: ip.into(),
            ip: ip.parse().unwrap(),
            hostname: ip.replace('.', "-"),
            subdomain: None,
        };
        switch.attach(identity).unwrap()
    }

    #[tokio::test]
    async fn a_service_spreads_connections_over_its_pods_and_hides_them() {
        let switch = Switch::new(SwitchConfig::default());
        let (a, b, client) = (
            pod(&switch, "10.1.0.1"),
            pod(&switch, "10.1.0.2"),
            pod(&switch, "10.1.0.3"),
        );
        let listeners = [a, b].map(|stack| {
            stack
                .tcp_listen("0.0.0.0:8080".parse().unwrap(), 16)
                .unwrap()
        });
        world(&switch, &["10.1.0.1", "10.1.0.2"]);
        let vip = "10.96.0.10:80".parse().unwrap();
        let mut streams = Vec::new();
        for _ in 0..4 {
            let stream = client.tcp_connect(vip).await.unwrap();
            assert_eq!(stream.peer_addr(), vip);
            streams.push(stream);
        }
        for listener in &listeners {
            listener.try_accept().unwrap();
            let second = listener.try_accept().unwrap();
            assert_eq!(second.peer_addr().ip(), client.identity().ip);
            assert_eq!(listener.try_accept().unwrap_err(), NetError::WouldBlock);
        }
        // Whoever has fewer open connections is next.
        streams.truncate(3);
        drop(client.tcp_connect(vip).await.unwrap());
        assert_eq!(client.lookup("web").unwrap(), [vip.ip()]);
    }

    #[tokio::test]
    async fn a_pod_that_refuses_is_passed_over_and_none_is_a_refusal() {
        let switch = Switch::new(SwitchConfig::default());
        let (_deaf, b) = (pod(&switch, "10.1.0.1"), pod(&switch, "10.1.0.2"));
        let listener = b.tcp_listen("0.0.0.0:8080".parse().unwrap(), 16).unwrap();
        world(&switch, &["10.1.0.1", "10.1.0.2", "10.1.0.77"]);
        for _ in 0..3 {
            switch
                .connect_from_host("10.96.0.10:80".parse().unwrap())
                .await
                .unwrap();
            listener.accept().await.unwrap();
        }
        world(&switch, &[]);
        let refused = switch
            .connect_from_host("10.96.0.10:80".parse().unwrap())
            .await;
        assert_eq!(refused.unwrap_err(), NetError::ConnectionRefused);
        let unknown = switch
            .connect_from_host("10.96.0.10:81".parse().unwrap())
            .await;
        assert_eq!(unknown.unwrap_err(), NetError::RemoteUnreachable);
    }

    #[tokio::test]
    async fn two_pods_never_share_an_address() {
        let switch = Switch::new(SwitchConfig::default());
        let first = pod(&switch, "10.1.0.1");
        let second = PodIdentity {
            uid: "other".into(),
            ..first.identity().clone()
        };
        assert_eq!(switch.attach(second).unwrap_err(), NetError::AddressInUse);
    }
}
