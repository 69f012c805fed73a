//! The runtime as a whole: an engine, its compiled code, its threads. One per process.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use tokio::sync::Semaphore;
use wasmtime::{Engine, component::Linker};

use crate::{
    artifact::{self, Artifact, ArtifactError, ContainerKind},
    container::Container,
    engine,
    executor::{Executor, Place},
    host::{self, Host},
    spec::ContainerSpec,
};

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Where compiled code is kept. Belongs to the runtime alone.
    pub cache_dir: PathBuf,
    /// Threads that run guests.
    pub threads: usize,
    /// Instances at a time, bounded by what the kernel allows the process.
    pub instances: u32,
    /// Modules compiled at a time.
    pub compilations: usize,
}

impl RuntimeConfig {
    /// As many threads as cores, a thousand instances, one compilation at a time: compiling uses every core by itself.
    #[must_use]
    pub fn new(cache_dir: PathBuf) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            cache_dir,
            threads,
            instances: 1000,
            compilations: 1,
        }
    }
}

/// The runtime can't be had.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The folder for compiled code.
    #[error("prepare the folder {} for compiled code", folder.display())]
    Cache {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The threads.
    #[error("start the threads that run guests")]
    Threads(#[source] std::io::Error),
    /// wasmtime.
    #[error("set wasmtime up: {0}")]
    Engine(String),
}

/// A container can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its spec asks for what can't be.
    #[error("{0}")]
    Spec(String),
    /// The node runs as many instances as it can.
    #[error("the node runs as many instances as it can")]
    Full,
    /// Its port is taken or not its own.
    #[error("listen on port {port}: {source}")]
    Listen {
        /// Which port.
        port: u16,
        /// Why not.
        source: coracle_network::NetError,
    },
}

/// The runtime.
pub struct Runtime {
    engine: Engine,
    linker: Linker<Host>,
    executor: Executor,
    config: RuntimeConfig,
    compiling: Arc<Semaphore>,
    /// A permit per instance that fits into the process.
    pub(crate) room: Arc<Semaphore>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Sets the runtime up.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    pub fn new(mut config: RuntimeConfig) -> Result<Arc<Self>, RuntimeError> {
        config.instances = config.instances.min(engine::instances_that_fit());
        artifact::make_folder(&config.cache_dir).map_err(|source| RuntimeError::Cache {
            folder: config.cache_dir.clone(),
            source,
        })?;
        let engine = engine::new(config.instances)
            .map_err(|error| RuntimeError::Engine(format!("{error:#}")))?;
        let linker =
            host::linker(&engine).map_err(|error| RuntimeError::Engine(format!("{error:#}")))?;
        let executor = Executor::start(config.threads).map_err(RuntimeError::Threads)?;
        let compiling = Arc::new(Semaphore::new(config.compilations.max(1)));
        let room = Arc::new(Semaphore::new(
            usize::try_from(config.instances).unwrap_or(usize::MAX),
        ));
        Ok(Arc::new(Self {
            engine,
            linker,
            executor,
            config,
            compiling,
            room,
        }))
    }

    /// Makes something runnable of a module's bytes. Compiles at most once per module; the compiled code survives the process.
    ///
    /// # Errors
    /// See [`ArtifactError`].
    pub async fn prepare(self: &Arc<Self>, wasm: Bytes) -> Result<Arc<Artifact>, ArtifactError> {
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let runtime = Arc::clone(self);
        let prepared = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            artifact::prepare(
                &runtime.engine,
                &runtime.linker,
                &runtime.config.cache_dir,
                &wasm,
            )
        });
        prepared.await.unwrap_or_else(|panic| {
            Err(ArtifactError::Uncompilable(format!(
                "the compiler failed: {panic}"
            )))
        })
    }

    /// A thread for the containers of a pod, which talk to each other fastest on one.
    #[must_use]
    pub fn place(&self) -> Place {
        self.executor.place()
    }

    /// Starts a container on a thread of the executor.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        self: &Arc<Self>,
        spec: ContainerSpec,
        place: &Place,
    ) -> Result<Container, StartError> {
        match spec.artifact.kind {
            ContainerKind::Command => Container::command(self, spec, place),
            ContainerKind::HttpHandler => Container::http(self, spec, place),
        }
    }

    /// Instances that could still be made.
    #[must_use]
    pub fn free_instances(&self) -> usize {
        self.room.available_permits()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}
