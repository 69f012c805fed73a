//! The way in from outside: kernel listeners on the node, one per node port, each connection spliced to a pod of its Service. The only place of
//! this crate where kernel sockets are.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream as KernelStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    counters::{Counters, Traffic},
    service::Protocol,
    switch::Switch,
    vip::VipKey,
};

/// Connections per node port at a time. Further ones wait in the kernel's backlog.
const CONNECTIONS_LIMIT: usize = 4096;
/// Bytes buffered per direction between kernel and pipe.
const BUFFER: usize = 32 << 10;

/// A node port that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open node port {port} on {address}")]
pub struct NodePortError {
    /// The port.
    pub port: u16,
    /// The address it was to be opened on.
    pub address: IpAddr,
    /// What the kernel said.
    pub source: std::io::Error,
}

/// The node ports of a switch.
pub struct NodePorts {
    switch: Arc<Switch>,
    addresses: Vec<IpAddr>,
    open: Mutex<BTreeMap<u16, OpenPort>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct OpenPort {
    /// Where its connections go; shared with the tasks that accept.
    target: Arc<Mutex<VipKey>>,
    counters: Arc<Counters>,
    stop: CancellationToken,
}

impl NodePorts {
    /// Node ports on `addresses`, none open yet.
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

    /// Opens and closes ports so that they are those of the switch's table now. What fails is reported and tried again at the next call.
    pub async fn reconcile(&self) -> Vec<NodePortError> {
        let wanted = self.switch.with_table(crate::vip::VipTable::node_ports);
        let wanted: BTreeMap<u16, VipKey> = wanted
            .into_iter()
            .filter(|((_, protocol), _)| *protocol == Protocol::Tcp)
            .map(|((port, _), key)| (port, key))
            .collect();
        self.open
            .lock()
            .retain(|port, open| match wanted.get(port) {
                Some(key) => {
                    *open.target.lock() = *key;
                    true
                }
                None => {
                    open.stop.cancel();
                    false
                }
            });
        let mut failed = Vec::new();
        for (port, key) in wanted {
            if !self.open.lock().contains_key(&port)
                && let Err(error) = self.open(port, key).await
            {
                failed.push(error);
            }
        }
        failed
    }

    async fn open(&self, port: u16, key: VipKey) -> Result<(), NodePortError> {
        let mut listeners = Vec::new();
        for address in &self.addresses {
            let bound = TcpListener::bind(SocketAddr::new(*address, port)).await;
            listeners.push(bound.map_err(|source| NodePortError {
                port,
                address: *address,
                source,
            })?);
        }
        let open = OpenPort {
            target: Arc::new(Mutex::new(key)),
            counters: Arc::default(),
            stop: self.stop.child_token(),
        };
        for listener in listeners {
            let port = Port {
                switch: Arc::clone(&self.switch),
                target: Arc::clone(&open.target),
                counters: Arc::clone(&open.counters),
                stop: open.stop.clone(),
                tasks: self.tasks.clone(),
                room: Arc::new(Semaphore::new(CONNECTIONS_LIMIT)),
            };
            self.tasks.spawn(port.accept(listener));
        }
        self.open.lock().insert(port, open);
        Ok(())
    }

    /// What went through an open port.
    #[must_use]
    pub fn traffic(&self, port: u16) -> Option<Traffic> {
        self.open.lock().get(&port).map(|open| open.counters.read())
    }

    /// Takes no new connections and waits until those open have ended. The caller bounds the wait.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What a listener's task needs.
#[derive(Clone)]
struct Port {
    switch: Arc<Switch>,
    target: Arc<Mutex<VipKey>>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    tasks: TaskTracker,
    room: Arc<Semaphore>,
}

impl Port {
    async fn accept(self, listener: TcpListener) {
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let port = self.clone();
                    self.tasks.spawn(async move {
                        port.carry(stream, peer).await;
                        drop(permit);
                    });
                }
                // The caller went away before it was accepted, or the process is out of descriptors: neither ends the port.
                Err(error) => {
                    tracing::warn!(%error, "a connection to a node port was not accepted");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn carry(&self, mut outside: KernelStream, peer: SocketAddr) {
        let key = *self.target.lock();
        let mut inside = match self.switch.connect_to_service(peer, key).await {
            Ok(stream) => stream.counted(&self.counters),
            Err(error) => {
                self.counters.refused();
                tracing::debug!(%peer, %error, "no pod took a connection from outside");
                // Closed with a reset, as a refusal comes too late.
                if let Err(error) = outside.set_zero_linger() {
                    tracing::debug!(%error, "linger not set");
                }
                return;
            }
        };
        self.counters.connected();
        if let Err(error) = outside.set_nodelay(true) {
            tracing::debug!(%error, "nodelay not set");
        }
        // An error is one side going away without a goodbye, which the other side learns by the drop below.
        if let Err(error) =
            tokio::io::copy_bidirectional_with_sizes(&mut outside, &mut inside, BUFFER, BUFFER)
                .await
        {
            tracing::debug!(%peer, %error, "a connection from outside broke");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        service::{Endpoint, EndpointSlice, Service, ServiceKind, ServicePort, SlicePort},
        stack::PodIdentity,
        switch::SwitchConfig,
        vip,
    };

    #[tokio::test]
    async fn a_node_port_leads_to_a_pod_and_closes_with_its_service() {
        let switch = Switch::new(SwitchConfig::default());
        let identity = PodIdentity {
            namespace: "default".into(),
            name: "p".into(),
            uid: "u".into(),
            ip: "10.1.0.1".parse().unwrap(),
            hostname: "p".into(),
            subdomain: None,
        };
        let stack = switch.attach(identity).unwrap();
        let listener = stack
            .tcp_listen("0.0.0.0:8080".parse().unwrap(), 16)
            .unwrap();
        // A port that is free now; the kernel does not give it out again at once.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let service = Service {
            namespace: "default".into(),
            name: "web".into(),
            kind: ServiceKind::Virtual,
            addresses: vec!["10.96.0.10".parse().unwrap()],
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: Some(free),
            }],
            affinity: None,
            publish_not_ready: false,
        };
        let slice = EndpointSlice {
            namespace: "default".into(),
            service: "web".into(),
            ports: vec![SlicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 8080,
            }],
            endpoints: vec![Endpoint {
                addresses: vec!["10.1.0.1".parse().unwrap()],
                ready: true,
                serving: true,
                terminating: false,
                hostname: None,
            }],
        };
        switch.apply(vip::diff(
            &vip::VipTable::default(),
            &vip::build(&[service], &[slice]),
        ));
        let ports = NodePorts::new(Arc::clone(&switch), vec!["127.0.0.1".parse().unwrap()]);
        assert!(ports.reconcile().await.is_empty());
        let mut outside = KernelStream::connect(("127.0.0.1", free)).await.unwrap();
        outside.write_all(b"knock").await.unwrap();
        outside.shutdown().await.unwrap();
        let mut inside = listener.accept().await.unwrap();
        let mut heard = String::new();
        inside.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "knock");
        inside.write_all(b"come in").await.unwrap();
        drop(inside);
        heard.clear();
        outside.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "come in");
        assert_eq!(ports.traffic(free).unwrap().connected, 1);
        switch.apply(switch.with_table(|old| vip::diff(old, &vip::VipTable::default())));
        assert!(ports.reconcile().await.is_empty());
        ports.close().await;
        assert!(KernelStream::connect(("127.0.0.1", free)).await.is_err());
    }
}
