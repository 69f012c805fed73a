//! What a container is to be: everything it gets, spelled out. What is not here it does not have.

use std::{
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use coracle_network::PodStack;

use crate::{artifact::Artifact, host::stdin::Stdin};

/// Takes what a container writes to standard output or error.
pub trait LogSink: Send + Sync + 'static {
    /// Ready when it takes at least one more write. Must not be ready in vain.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Takes bytes. Never blocks; called only when ready.
    fn write(&self, bytes: Bytes);
}

/// A directory of the host that a container sees.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The directory on the host.
    pub host_path: PathBuf,
    /// Where the container sees it.
    pub guest_path: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// Whether an HTTP handler's instance serves one request or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Each request gets an instance of its own.
    PerRequest,
    /// An instance serves requests one after another.
    Pooled {
        /// It is replaced after so many.
        max_requests: u32,
        /// And after being idle for so long.
        idle: Duration,
    },
}

impl Default for Reuse {
    /// 1,000 requests bound what a leak can grow to; a minute without work and the memory is given back.
    fn default() -> Self {
        Self::Pooled {
            max_requests: 1000,
            idle: Duration::from_secs(60),
        }
    }
}

/// A container to be run.
#[derive(Clone)]
pub struct ContainerSpec {
    /// Names the container in logs of the host.
    pub id: String,
    /// What runs.
    pub artifact: Arc<Artifact>,
    /// Its arguments, the program's name first.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its directories.
    pub mounts: Vec<Mount>,
    /// The most CPU it gets, in thousandths of a core.
    pub cpu_limit_millis: Option<u32>,
    /// Its share when the node is busy, in thousandths of a core; 0 counts as 1.
    pub cpu_weight_millis: u32,
    /// The most memory it gets, in bytes, over all its instances.
    pub memory_limit: Option<u64>,
    /// All the fuel it ever gets.
    pub fuel_budget: Option<u64>,
    /// What it reads from standard input; nothing where there is none.
    pub stdin: Option<Arc<Stdin>>,
    /// Whether its standard streams are a terminal.
    pub is_terminal: bool,
    /// Takes its standard output.
    pub stdout: Arc<dyn LogSink>,
    /// Takes its standard error.
    pub stderr: Arc<dyn LogSink>,
    /// Its pod's network.
    pub stack: Arc<PodStack>,
    /// The port an HTTP handler is served on.
    pub http_port: Option<u16>,
    /// How an HTTP handler's instances are used.
    pub http_reuse: Reuse,
}

/// A command to be run in a container: what differs from the container's own program. The rest it shares: files, network, limits, end.
#[derive(Clone)]
pub struct CommandSpec {
    /// What runs; a program.
    pub artifact: Arc<Artifact>,
    /// Its arguments, the program's name first.
    pub args: Vec<String>,
    /// What its environment has beyond the container's.
    pub env: Vec<(String, String)>,
    /// What it reads from standard input; nothing where there is none.
    pub stdin: Option<Arc<Stdin>>,
    /// Whether its standard streams are a terminal.
    pub is_terminal: bool,
    /// Takes its standard output.
    pub stdout: Arc<dyn LogSink>,
    /// Takes its standard error.
    pub stderr: Arc<dyn LogSink>,
}
