//! The way between nodes: one mutually authenticated HTTP/2 connection per pair of nodes that talk, a stream in it per connection of pods, and one for
//! datagrams. Either side can begin streams on it, whoever dialled: a node that lets nothing in is reached over the link it opened.
//!
//! In reading order: [`routes`], which node has which pods; [`tls`], who is who; [`frames`], what goes through; [`relay`], a connection in a stream;
//! [`link`], one connection between two nodes; here, all of a node's.

#[cfg(test)]
mod authority;
mod begin;
mod frames;
mod link;
mod relay;
pub mod routes;
mod side;
pub mod tls;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::{
    net::{TcpListener, TcpStream as KernelStream},
    sync::{Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    link::Link,
    routes::{Peer, Routes},
    tls::NodeIdentity,
};
use crate::{
    error::NetError,
    policy::PodFacts,
    stream::TcpStream,
    switch::{Asking, Dialer, Dialing, Switch},
};

/// How long dialling and the handshakes may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The first pause before a node is dialled again, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Handshakes at a time of those who connect from outside: they cost a signature each, and have proven nothing yet.
const HANDSHAKES: usize = 64;

/// How a node's links are set up.
#[derive(Clone, Debug)]
pub struct TunnelConfig {
    /// How often the other side is asked whether it is still there, and how long it has to answer: a link that is dead must be opened anew before somebody
    /// misses it, and one that is slow must live.
    pub ping: Duration,
    /// The time for the answer.
    pub pong: Duration,
    /// How long a connection waits for a link.
    pub patience: Duration,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(5),
            pong: Duration::from_secs(5),
            patience: Duration::from_secs(10),
        }
    }
}

/// A node's links to others.
pub struct Tunnels {
    config: TunnelConfig,
    identity: NodeIdentity,
    switch: Weak<Switch>,
    routes: RwLock<Routes>,
    /// The newest link to each node that lives, and since when.
    links: Mutex<HashMap<String, (u64, Arc<Link>)>>,
    next: AtomicU64,
    /// Counts links that came or went.
    changes: watch::Sender<u64>,
    /// One dial at a time to a node; who else wants it waits.
    dials: Mutex<HashMap<String, Arc<Dial>>>,
    is_listening: std::sync::atomic::AtomicBool,
    keepers: Mutex<HashMap<String, CancellationToken>>,
    /// Pods run on threads of their own, and links on none of them.
    runtime: tokio::runtime::Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
    this: Weak<Tunnels>,
}

/// The state of dialling one node.
#[derive(Default)]
struct Dial {
    /// Held while somebody dials: what is inside is the pause before the next try, and from when it counts.
    turn: tokio::sync::Mutex<Option<(Duration, Instant)>>,
}

impl Tunnels {
    /// Links for the pods of a switch, none open yet. The switch dials through them from now on. Must be called in the runtime that links are to run in.
    #[must_use]
    pub fn new(switch: &Arc<Switch>, identity: NodeIdentity, config: TunnelConfig) -> Arc<Self> {
        let tunnels = Arc::new_cyclic(|this| Self {
            config,
            identity,
            switch: Arc::downgrade(switch),
            routes: RwLock::default(),
            links: Mutex::default(),
            next: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            dials: Mutex::default(),
            is_listening: std::sync::atomic::AtomicBool::new(false),
            keepers: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            this: Weak::clone(this),
        });
        switch.set_dialer(Arc::clone(&tunnels) as Arc<dyn Dialer>);
        tunnels
    }

    /// Says which other nodes there are, and where. Links to nodes that are gone are closed.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        let routes = Routes::new(&self.identity.node, peers);
        self.links
            .lock()
            .retain(|node, (_, link)| routes.peer(node).is_some() || link.close());
        *self.routes.write() = routes;
        self.keep_links();
        self.changed();
    }

    /// The nodes to which there is a link now.
    #[must_use]
    pub fn linked(&self) -> Vec<String> {
        let mut linked: Vec<String> = self.links.lock().keys().cloned().collect();
        linked.sort();
        linked
    }

    /// Follows the links: changes each time one came or went.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes links from other nodes on `listener` until the tunnels are closed.
    pub fn listen(&self, listener: TcpListener) {
        self.is_listening.store(true, Ordering::Release);
        self.keep_links();
        if let Some(tunnels) = self.this.upgrade() {
            self.spawn(tunnels.accept(listener));
        }
    }

    /// Closes all links and waits until what used them has noticed. The caller bounds the wait.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A node that nobody can dial opens a link to every node it can, so that it is reached over that.
    fn keep_links(&self) {
        let mut keepers = self.keepers.lock();
        let wanted = if self.is_listening.load(Ordering::Acquire) {
            Vec::new()
        } else {
            self.routes.read().dialable()
        };
        keepers.retain(|node, keeper| {
            let is_wanted = wanted.contains(node);
            if !is_wanted {
                keeper.cancel();
            }
            is_wanted
        });
        for node in wanted {
            if keepers.contains_key(&node) {
                continue;
            }
            let stop = self.stop.child_token();
            keepers.insert(node.clone(), stop.clone());
            if let Some(tunnels) = self.this.upgrade() {
                self.spawn(tunnels.keep(node, stop));
            }
        }
    }

    async fn keep(self: Arc<Self>, node: String, stop: CancellationToken) {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if self.live(&node).is_none() {
                let dialled = tokio::select! {
                    () = stop.cancelled() => return,
                    dialled = self.dial_now(&node) => dialled,
                };
                if dialled.is_err() {
                    continue;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn live(&self, node: &str) -> Option<Arc<Link>> {
        let links = self.links.lock();
        let (_, link) = links.get(node)?;
        link.is_live().then(|| Arc::clone(link))
    }

    /// The link to a node: the one there is, or a new one, waiting for as long as patience lasts.
    async fn link(&self, node: &str) -> Result<Arc<Link>, NetError> {
        let deadline = Instant::now() + self.config.patience;
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Some(link) = self.live(node) {
                return Ok(link);
            }
            let can_dial = match self.routes.read().peer(node) {
                Some(peer) => !peer.dial.is_empty(),
                None => return Err(NetError::RemoteUnreachable),
            };
            if can_dial {
                let dialled = timeout_at(deadline, self.dial_now(node)).await;
                match dialled {
                    Ok(Ok(link)) => return Ok(link),
                    // The pause before the next try was waited for.
                    Ok(Err(_)) => continue,
                    Err(_) => return Err(NetError::Timeout),
                }
            }
            if !self.is_listening.load(Ordering::Acquire) {
                // Neither side lets anything in.
                return Err(NetError::RemoteUnreachable);
            }
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(NetError::RemoteUnreachable),
                Err(_) => return Err(NetError::Timeout),
            }
        }
    }

    /// Dials a node, after the pause that a failure before asks for; or takes the link that somebody else dialled meanwhile.
    async fn dial_now(&self, node: &str) -> Result<Arc<Link>, NetError> {
        let dial = Arc::clone(self.dials.lock().entry(node.to_owned()).or_default());
        let mut turn = dial.turn.lock().await;
        if let Some(link) = self.live(node) {
            return Ok(link);
        }
        if let Some((pause, since)) = *turn {
            tokio::time::sleep_until(since + pause).await;
            if let Some(link) = self.live(node) {
                return Ok(link);
            }
        }
        let addresses = match self.routes.read().peer(node) {
            Some(peer) => peer.dial.clone(),
            None => return Err(NetError::RemoteUnreachable),
        };
        let mut last = NetError::RemoteUnreachable;
        for address in addresses {
            match timeout(HANDSHAKE, self.dial(node, address)).await {
                Ok(Ok(link)) => {
                    *turn = None;
                    return Ok(link);
                }
                Ok(Err(error)) => {
                    tracing::debug!(node, %address, %error, "a node cannot be reached");
                }
                Err(_) => last = NetError::Timeout,
            }
        }
        let pause = turn.map_or(PAUSE.0, |(pause, _)| pause.saturating_mul(2).min(PAUSE.1));
        *turn = Some((pause, Instant::now()));
        Err(last)
    }

    async fn dial(&self, node: &str, address: SocketAddr) -> Result<Arc<Link>, link::LinkError> {
        let stream = KernelStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = self.identity.connect(node, stream).await?;
        let tunnels = self.this.upgrade().ok_or(link::LinkError::Closed)?;
        let (link, run) = Link::dialled(&tunnels, node, stream).await?;
        self.attach(node, &link, run);
        Ok(link)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a link was not accepted");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let tunnels = Arc::clone(&self);
            self.spawn(async move {
                let shaken = timeout(HANDSHAKE, tunnels.shake(stream)).await;
                drop(permit);
                match shaken {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%from, %error, "a link was refused"),
                    Err(_) => tracing::debug!(%from, "a link took too long to open"),
                }
            });
        }
    }

    async fn shake(self: &Arc<Self>, stream: KernelStream) -> Result<(), link::LinkError> {
        stream.set_nodelay(true)?;
        let (node, stream) = self.identity.accept(stream).await?;
        if self.routes.read().peer(&node).is_none() {
            return Err(link::LinkError::Unknown(node));
        }
        let (link, run) = Link::accepted(self, &node, stream).await?;
        self.attach(&node, &link, run);
        Ok(())
    }

    /// Makes `link` the way to `node`; an older one goes on with the streams that it has.
    fn attach(&self, node: &str, link: &Arc<Link>, run: impl Future<Output = ()> + Send + 'static) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.links
            .lock()
            .insert(node.to_owned(), (id, Arc::clone(link)));
        tracing::info!(node, "linked");
        self.changed();
        let (tunnels, node, stop) = (self.this.clone(), node.to_owned(), self.stop.clone());
        self.spawn(async move {
            tokio::select! {
                () = run => {}
                () = stop.cancelled() => {}
            }
            let Some(tunnels) = tunnels.upgrade() else {
                return;
            };
            let mut links = tunnels.links.lock();
            if links.get(&node).is_some_and(|(held, _)| *held == id) {
                links.remove(&node);
            }
            drop(links);
            tracing::info!(node, "a link has ended");
            tunnels.changed();
        });
    }

    /// Whether what comes over the link of `node` may come from `source`: from its own pods, or from outside the cluster, but from no other node's pods.
    fn may_come_from(&self, node: &str, source: SocketAddr) -> bool {
        self.routes.read().may_come_from(node, source.ip())
    }

    /// Connects to a pod of this node for another one.
    async fn connect_here(
        &self,
        node: &str,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Result<TcpStream, NetError> {
        if !self.may_come_from(node, source) {
            tracing::warn!(node, %source, "a node speaks for others' pods");
            return Err(NetError::AccessDenied);
        }
        let switch = self.switch.upgrade().ok_or(NetError::RemoteUnreachable)?;
        switch.connect_locally(source, target).await
    }

    /// What policies need to know of a pod of this node.
    fn local_facts(&self, ip: IpAddr) -> Option<Arc<PodFacts>> {
        self.switch.upgrade()?.local_facts(ip)
    }

    /// Delivers a datagram to a pod of this node, or to the caller from outside that came in here.
    fn deliver(&self, node: &str, source: SocketAddr, target: SocketAddr, data: Bytes) {
        if !self.may_come_from(node, source) {
            tracing::debug!(node, %source, "a node speaks for others' pods");
            return;
        }
        self.routes.write().came(node, source, target);
        let Some(switch) = self.switch.upgrade() else {
            return;
        };
        // Loss is not told over the wire, as on any.
        if let Err(error) = switch.deliver_locally(source, target, data) {
            tracing::trace!(node, %source, %target, %error, "a datagram was lost");
        }
    }
}

impl Dialer for Tunnels {
    fn dial(&self, source: SocketAddr, target: SocketAddr) -> Option<Dialing> {
        let node = self.routes.read().node(target.ip())?;
        let tunnels = self.this.upgrade()?;
        Some(Box::pin(async move {
            let link = tunnels.link(&node).await?;
            let patience = tunnels.config.patience;
            let opened = timeout(patience, link.open(&tunnels, source, target)).await;
            opened.unwrap_or(Err(NetError::Timeout))
        }))
    }

    fn send(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    ) -> Option<Result<(), NetError>> {
        let routes = self.routes.read();
        let node = routes
            .node(target.ip())
            .or_else(|| routes.way_back(source, target))?;
        drop(routes);
        if let Some(link) = self.live(&node) {
            return Some(link.send(source, target, data));
        }
        // The first datagrams wait for the link, as those of a host wait for the address of their neighbour; one at a time, and not for long.
        let tunnels = self.this.upgrade()?;
        self.spawn(async move {
            if let Ok(link) = tunnels.link(&node).await
                && let Err(error) = link.send(source, target, data)
            {
                tracing::trace!(%source, %target, %error, "a datagram was lost");
            }
        });
        Some(Ok(()))
    }

    fn known_facts(&self, ip: IpAddr) -> Option<Option<Option<Arc<PodFacts>>>> {
        let node = self.routes.read().node(ip)?;
        Some(self.live(&node).and_then(|link| link.known(ip)))
    }

    fn ask(&self, ip: IpAddr) -> Asking {
        let (node, tunnels) = (self.routes.read().node(ip), self.this.upgrade());
        Box::pin(async move {
            let (Some(node), Some(tunnels)) = (node, tunnels) else {
                return Ok(None);
            };
            let link = tunnels.link(&node).await?;
            let asked = timeout(tunnels.config.patience, link.who(ip)).await;
            asked.unwrap_or(Err(NetError::Timeout))
        })
    }

    fn tell(&self, ip: IpAddr, pod: Option<&PodFacts>) {
        for (_, link) in self.links.lock().values() {
            link.tell(ip, pod);
        }
    }
}

impl std::fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnels")
            .field("node", &self.identity.node)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
