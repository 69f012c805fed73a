//! What all pods of a node share. Made once by the agent; has no life of its own.

use std::sync::Arc;

use coracle_network::{Switch, tunnel::Tunnels};
use coracle_runtime::Runtime;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::{
    addresses::Addresses, config::Config, events::Recorder, images::Images, logs::Logs,
    references::References, services::Services, toolbox::Toolbox, volumes::PodDirectories,
};

/// Pod statuses that are written at a time. More would only wait in the API server.
pub(crate) const WRITES: usize = 32;

/// What all pods share.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) switch: Arc<Switch>,
    /// The way to the pods of other nodes, if there is one.
    pub(crate) tunnels: Option<Arc<Tunnels>>,
    pub(crate) images: Images,
    pub(crate) references: Arc<References>,
    pub(crate) services: Arc<Services>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) directories: PodDirectories,
    pub(crate) addresses: Mutex<Addresses>,
    pub(crate) recorder: Recorder,
    pub(crate) toolbox: Toolbox,
    /// Held while a pod's status is written.
    pub(crate) writing: Semaphore,
    /// When containers have to have ended; nothing while the agent goes on.
    pub(crate) deadline: watch::Sender<Option<Timestamp>>,
}
