//! What an agent is given. Plain values, read by whoever starts it; no file, flag or environment variable is read here.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

pub use coracle_network::tunnel::tls::NodeIdentity;

use crate::addresses::PodRange;

/// How an agent is set up.
#[derive(Clone)]
pub struct Config {
    /// The node's name: a DNS subdomain.
    pub name: String,
    /// The API server, as this node's user.
    pub client: kube::Client,
    /// Where the agent keeps what must outlive it. Belongs to it alone.
    pub data_dir: PathBuf,
    /// The node's own addresses, the main one first.
    pub addresses: Vec<IpAddr>,
    /// What pods may use together.
    pub capacity: Capacity,
    /// Where pods get their addresses from.
    pub pod_range: PodRange,
    /// The domain that Services' names end in.
    pub cluster_domain: String,
    /// Where pods that speak DNS ask for names; nowhere if it is not given. A Service with endpoints that has the address is asked instead.
    pub cluster_dns: Option<IpAddr>,
    /// Where node ports are opened. Empty: nowhere.
    pub node_port_addresses: Vec<IpAddr>,
    /// How pods of other nodes are reached. None: not at all.
    pub tunnel: Option<TunnelSettings>,
    /// Labels beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Threads that run guests; 0: one per core.
    pub runtime_threads: usize,
    /// How long pods get to end when the agent does.
    pub drain_time: Duration,
    /// Bounds on disk.
    pub disk: DiskLimits,
}

/// How a node's pods and those of others reach each other.
#[derive(Clone)]
pub struct TunnelSettings {
    /// What the node shows to others.
    pub identity: NodeIdentity,
    /// Where other nodes open their links. None: nowhere, and this node opens them all.
    pub listen: Option<SocketAddr>,
    /// Where others are told to open them.
    pub told: Vec<SocketAddr>,
}

/// What a node offers to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// CPU, in thousandths of a core.
    pub cpu_millis: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Pods.
    pub pods: u32,
}

/// How much of the disk may be used for what can be had again or is not worth everything.
#[derive(Clone, Copy, Debug)]
pub struct DiskLimits {
    /// Images, in bytes. Those that no pod uses go first; what pods use is never removed.
    pub images: u64,
    /// Logs of all containers, in bytes. Each may use its share, at most [`DiskLimits::log_file`] a file.
    pub logs: u64,
    /// One log file, in bytes, before it is rotated.
    pub log_file: u64,
}

impl Default for DiskLimits {
    /// 10 GiB of images, 4 GiB of logs, 10 MiB a log file as the kubelet has it.
    fn default() -> Self {
        Self {
            images: 10 << 30,
            logs: 4 << 30,
            log_file: 10 << 20,
        }
    }
}

impl Config {
    /// A configuration with upstream's defaults: 110 pods, pods in 10.244.0.0/24, names in cluster.local, ten seconds to drain, and what the machine has.
    #[must_use]
    pub fn new(name: String, client: kube::Client, data_dir: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            name,
            client,
            data_dir,
            addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
            capacity: Capacity {
                cpu_millis: i64::try_from(cores).unwrap_or(1).saturating_mul(1000),
                memory_bytes: crate::machine::memory().map_or(1 << 30, |memory| memory.total),
                pods: 110,
            },
            pod_range: PodRange::default(),
            cluster_domain: "cluster.local".to_owned(),
            // The tenth address of the usual range of Services, as in most clusters.
            cluster_dns: Some(Ipv4Addr::new(10, 96, 0, 10).into()),
            node_port_addresses: Vec::new(),
            tunnel: None,
            labels: BTreeMap::new(),
            runtime_threads: cores,
            drain_time: Duration::from_secs(10),
            disk: DiskLimits::default(),
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("data_dir", &self.data_dir)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
