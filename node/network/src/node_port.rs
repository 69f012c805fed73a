//! The way in from outside: kernel sockets on the node, for node ports, for the ports of Services whose load balancer the nodes are, and for host ports of
//! pods. The only place of this crate where kernel sockets are, beside the links to other nodes.

mod tcp;
mod udp;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    counters::{Counters, Traffic},
    service::Protocol,
    switch::Switch,
    vip::VipKey,
};

/// A port that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open port {port} on {address}")]
pub struct NodePortError {
    /// The port.
    pub port: u16,
    /// The address it was to be opened on.
    pub address: IpAddr,
    /// What the kernel said.
    pub source: std::io::Error,
}

/// A port of the node that leads to one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Where on the node; none: at all addresses where ports are opened.
    pub address: Option<IpAddr>,
    /// Its number there.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number at the pod.
    pub pod_port: u16,
}

/// Where what comes in goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Service(VipKey),
    Pod(SocketAddr),
}

type Place = (IpAddr, u16, Protocol);

/// The node's ports for a switch.
pub struct NodePorts {
    switch: Arc<Switch>,
    addresses: Vec<IpAddr>,
    open: Mutex<BTreeMap<Place, OpenPort>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What an open port's tasks share.
struct OpenPort {
    target: Arc<Mutex<Target>>,
    counters: Arc<Counters>,
    stop: CancellationToken,
}

impl NodePorts {
    /// Ports on `addresses`, none open yet.
    #[must_use]
    pub fn new(switch: Arc<Switch>, addresses: Vec<IpAddr>) -> Self {
        Self {
            switch,
            addresses,
            open: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Opens and closes ports so that they are those of the switch's table and pods now. What fails is reported and tried again at the next call.
    pub async fn reconcile(&self) -> Vec<NodePortError> {
        let wanted = wanted(&self.switch, &self.addresses);
        self.open
            .lock()
            .retain(|place, open| match wanted.get(place) {
                Some(target) => {
                    *open.target.lock() = *target;
                    true
                }
                None => {
                    open.stop.cancel();
                    false
                }
            });
        let mut failed = Vec::new();
        for (place, target) in wanted {
            if !self.open.lock().contains_key(&place)
                && let Err(source) = self.open(place, target).await
            {
                failed.push(NodePortError {
                    port: place.1,
                    address: place.0,
                    source,
                });
            }
        }
        failed
    }

    async fn open(&self, place: Place, target: Target) -> std::io::Result<()> {
        let open = OpenPort {
            target: Arc::new(Mutex::new(target)),
            counters: Arc::default(),
            stop: self.stop.child_token(),
        };
        let address = SocketAddr::new(place.0, place.1);
        match place.2 {
            Protocol::Tcp => {
                let listener = tokio::net::TcpListener::bind(address).await?;
                let port = tcp::Port::new(&self.switch, &open, &self.tasks);
                self.tasks.spawn(port.accept(listener));
            }
            Protocol::Udp => {
                let socket = tokio::net::UdpSocket::bind(address).await?;
                let stop = open.stop.clone();
                let port = udp::Port::new(&self.switch, &open, socket);
                self.tasks.spawn(port.carry(stop));
            }
        }
        self.open.lock().insert(place, open);
        Ok(())
    }

    /// What went through an open port, at all addresses.
    #[must_use]
    pub fn traffic(&self, port: u16) -> Option<Traffic> {
        let open = self.open.lock();
        let of_port = open.iter().filter(|((_, number, _), _)| *number == port);
        of_port
            .map(|(_, open)| open.counters.read())
            .reduce(|a, b| a.plus(&b))
    }

    /// Takes no new connections and waits until those open have ended. The caller bounds the wait.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The ports to be open. Those of Services come before those of pods.
fn wanted(switch: &Switch, addresses: &[IpAddr]) -> BTreeMap<Place, Target> {
    let mut wanted = BTreeMap::new();
    for (host_port, pod) in switch.host_ports() {
        let all = addresses.iter().copied();
        let at = host_port
            .address
            .map_or_else(|| all.collect(), |one| vec![one]);
        for address in at {
            let place = (address, host_port.port, host_port.protocol);
            let target = Target::Pod(SocketAddr::new(pod, host_port.pod_port));
            wanted.entry(place).or_insert(target);
        }
    }
    for ((port, protocol), key) in switch.with_table(crate::vip::VipTable::node_ports) {
        for address in addresses {
            wanted.insert((*address, port, protocol), Target::Service(key));
        }
    }
    wanted
}

#[cfg(test)]
mod tests;
