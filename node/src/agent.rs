//! The node agent as one value: everything that runs on a node, started in order and stopped in the reverse.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use coracle_network::{
    NodePorts, Place, Switch, SwitchConfig,
    tunnel::{TunnelConfig, Tunnels},
};
use coracle_runtime::{Runtime, RuntimeConfig, runtime::RuntimeError};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    addresses::Addresses,
    config::Config,
    endpoint::Endpoint,
    events::Recorder,
    heartbeat,
    images::Images,
    logs::Logs,
    node_object,
    parts::{Parts, WRITES},
    peers,
    pods::Pods,
    policies::{self, PolicyWatch},
    references::References,
    services::Services,
    toolbox::Toolbox,
    usage::UsageMeter,
    volumes::PodDirectories,
};

/// What the agent itself may take to stop beyond what pods are given.
const OWN_TIME: Duration = Duration::from_secs(5);

/// Denials that wait to be told of; those beyond it are only counted.
const DENIALS: usize = 256;

/// Instances at a time that the runtime makes room for: a pod has some containers, and an HTTP handler some instances.
const INSTANCES_PER_POD: u32 = 4;

/// An agent could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A folder of the agent.
    #[error("prepare the folder {}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The port for links of other nodes.
    #[error("listen for links of other nodes on {address}")]
    Tunnel {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime.
    #[error("start the runtime")]
    Runtime(#[source] RuntimeError),
    /// A bug.
    #[error("open what the agent keeps on disk")]
    Panicked(#[source] tokio::task::JoinError),
}

/// A running agent.
pub struct Agent {
    parts: Arc<Parts>,
    pods: Arc<Pods>,
    ports: Arc<NodePorts>,
    router: Router,
    tasks: TaskTracker,
    /// Ends what looks at pods and what tells of the node.
    stop: CancellationToken,
    /// Ends what pods need until their end.
    stop_last: CancellationToken,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("config", &self.parts.config)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Starts an agent. Pods that are bound to the node begin to run as soon as the API server tells of them; when that is, is not waited for.
    ///
    /// # Errors
    /// [`AgentError`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, AgentError> {
        let prepared = tokio::task::spawn_blocking(move || prepare(config)).await;
        let (parts, (write, stop_last)) = prepared.map_err(AgentError::Panicked)??;
        if let (Some(tunnels), Some(settings)) = (&parts.tunnels, &parts.config.tunnel)
            && let Some(address) = settings.listen
        {
            let listening = tokio::net::TcpListener::bind(address).await;
            let failed = |source| AgentError::Tunnel { address, source };
            tunnels.listen(listening.map_err(failed)?);
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let ports = NodePorts::new(
            Arc::clone(&parts.switch),
            parts.config.node_port_addresses.clone(),
        );
        let ports = Arc::new(ports);
        let pods = Pods::new(Arc::clone(&parts));
        let usage = UsageMeter::new(Arc::clone(&pods), parts.config.name.clone());
        let endpoint = Endpoint {
            pods: Arc::clone(&pods),
            logs: Arc::clone(&parts.logs),
            usage: Arc::clone(&usage),
            parts: Arc::clone(&parts),
        };
        tasks.spawn(write);
        let services = &parts.services;
        tasks.spawn(Arc::clone(services).follow(parts.config.client.clone(), stop_last.clone()));
        tasks.spawn(Arc::clone(services).program(
            Arc::clone(&parts.switch),
            Arc::clone(&ports),
            stop_last.clone(),
        ));
        tasks.spawn(peers::watch(
            parts.config.client.clone(),
            parts.config.name.clone(),
            parts.tunnels.clone(),
            Arc::clone(services),
            stop_last.clone(),
        ));
        let policies = PolicyWatch::new();
        tasks.spawn(Arc::clone(&policies).follow(
            parts.config.client.clone(),
            Arc::clone(&parts.switch),
            stop_last.clone(),
        ));
        let (tell, denials) = mpsc::channel(DENIALS);
        parts.switch.set_denials(tell);
        tasks.spawn(policies::tell(
            Arc::clone(&parts),
            Arc::clone(&pods),
            denials,
            stop.clone(),
        ));
        tasks.spawn(usage.follow(stop.clone()));
        let telling = {
            let (parts, pods, stop) = (Arc::clone(&parts), Arc::clone(&pods), stop.clone());
            let tasks = tasks.clone();
            async move {
                node_object::register(&parts, &stop).await;
                tasks.spawn(heartbeat::follow(Arc::clone(&parts), stop.clone()));
                // No pod runs before it is known what it may reach.
                tokio::select! {
                    () = policies.synced() => {}
                    () = stop.cancelled() => {}
                }
                tasks.spawn(Arc::clone(&pods).follow(stop.clone()));
                // A node is ready when it knows its pods and Services: what is sent here then runs and finds others.
                tokio::select! {
                    () = async { pods.synced().await; parts.services.synced().await } => {}
                    () = stop.cancelled() => {}
                }
                node_object::follow(parts, stop).await;
            }
        };
        tasks.spawn(telling);
        Ok(Self {
            parts,
            pods,
            ports,
            router: endpoint.router(),
            tasks,
            stop,
            stop_last,
        })
    }

    /// The node's own HTTP endpoint, for the API server: logs, usage, health.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The node's switch.
    #[must_use]
    pub fn switch(&self) -> &Arc<Switch> {
        &self.parts.switch
    }

    /// Stops: containers are asked to end and ended when their time is up; pods stay bound to the node and run again with its next start. Takes at most
    /// the drain time and some seconds.
    pub async fn stop(self) {
        let drain = self.parts.config.drain_time;
        let deadline = Timestamp::now()
            .checked_add(drain)
            .unwrap_or(Timestamp::MAX);
        self.stop.cancel();
        self.parts.deadline.send_replace(Some(deadline));
        if tokio::time::timeout(drain + OWN_TIME, self.pods.ended())
            .await
            .is_err()
        {
            tracing::warn!("some pods did not end in time");
        }
        if tokio::time::timeout(OWN_TIME, self.ports.close())
            .await
            .is_err()
        {
            tracing::warn!("some connections from outside did not end in time");
        }
        if let Some(tunnels) = &self.parts.tunnels
            && tokio::time::timeout(OWN_TIME, tunnels.close())
                .await
                .is_err()
        {
            tracing::warn!("some connections to other nodes did not end in time");
        }
        self.stop_last.cancel();
        self.tasks.close();
        if tokio::time::timeout(OWN_TIME, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some tasks of the agent did not end in time");
        }
        let logs = Arc::clone(&self.parts.logs);
        if let Err(error) = tokio::task::spawn_blocking(move || logs.close()).await {
            tracing::error!(%error, "writing the last logs failed");
        }
    }
}

impl Drop for Agent {
    /// Whoever drops an agent without stopping it does not want its containers to go on.
    fn drop(&mut self) {
        self.stop.cancel();
        self.stop_last.cancel();
        self.parts.deadline.send_if_modified(|deadline| {
            let is_first = deadline.is_none();
            deadline.get_or_insert_with(Timestamp::now);
            is_first
        });
    }
}

/// Writes events, until its token is cancelled.
type Recording = (
    std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    CancellationToken,
);

/// Where the node is among others.
fn place(config: &Config) -> Place {
    let zone = config.labels.get("topology.kubernetes.io/zone");
    Place {
        node: config.name.clone(),
        zone: zone.cloned().unwrap_or_default(),
        node_addresses: config.addresses.clone(),
    }
}

/// Opens everything on disk. Blocks.
fn prepare(config: Config) -> Result<(Arc<Parts>, Recording), AgentError> {
    let folder = |name: &str| config.data_dir.join(name);
    let failed = |name: &str| {
        let folder = folder(name);
        move |source| AgentError::Folder { folder, source }
    };
    std::fs::create_dir_all(&config.data_dir).map_err(failed(""))?;
    let mut runtime = RuntimeConfig::new(folder("compiled"));
    runtime.instances = runtime
        .instances
        .max(config.capacity.pods.saturating_mul(INSTANCES_PER_POD));
    if config.runtime_threads > 0 {
        runtime.threads = config.runtime_threads;
    }
    let runtime = Runtime::new(runtime).map_err(AgentError::Runtime)?;
    let images = Images::open(
        folder("images"),
        config.disk.images,
        config.client.clone(),
        Arc::clone(&runtime),
    );
    let images = images.map_err(failed("images"))?;
    let logs = Logs::open(folder("logs"), config.disk).map_err(failed("logs"))?;
    let directories = PodDirectories::new(folder("pods"));
    directories.make().map_err(failed("pods"))?;
    let switch = Switch::new(SwitchConfig {
        cluster_domain: config.cluster_domain.clone(),
        host_ip: config.pod_range.gateway(),
        dns_ip: config.cluster_dns,
        ..SwitchConfig::default()
    });
    let tunnels = config
        .tunnel
        .as_ref()
        .map(|settings| Tunnels::new(&switch, settings.identity.clone(), TunnelConfig::default()));
    let stop = CancellationToken::new();
    let (recorder, write) = Recorder::new(config.client.clone(), config.name.clone(), stop.clone());
    let parts = Parts {
        runtime,
        switch,
        tunnels,
        images,
        references: References::new(config.client.clone()),
        services: Arc::new(Services::new(place(&config), config.tunnel.is_some())),
        logs: Arc::new(logs),
        directories,
        addresses: Mutex::new(Addresses::new(config.pod_range)),
        recorder,
        toolbox: Toolbox::default(),
        writing: Semaphore::new(WRITES),
        deadline: watch::Sender::new(None),
        config,
    };
    Ok((Arc::new(parts), (Box::pin(write), stop)))
}
