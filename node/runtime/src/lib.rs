//! Runs WebAssembly components as containers: with CPU and memory limits, on a pod's virtual network, with no capability that was not given. The
//! only crate that names wasmtime. Knows nothing of Kubernetes: a container is a plain [`ContainerSpec`].
//!
//! In reading order: [`artifact`] makes something runnable of a module's bytes; [`spec`] says how to run it and [`container`] is it running;
//! [`exit`] why it ended; [`command`] and [`http_server`] are the two kinds; [`meter`] and [`memory`] the limits, [`executor`] the threads with
//! their run queues; [`host`] what guests may call; [`engine`] the settings of wasmtime.

pub mod artifact;
pub mod command;
pub mod container;
pub mod engine;
pub mod executor;
pub mod exit;
pub mod host;
pub mod http_server;
pub mod memory;
pub mod meter;
pub mod runtime;
pub mod spec;

pub use artifact::{Artifact, ArtifactError, ContainerKind};
pub use container::Container;
pub use exit::Exit;
pub use host::stdin::Stdin;
pub use meter::Usage;
pub use runtime::{Runtime, RuntimeConfig, StartError};
pub use spec::{CommandSpec, ContainerSpec, LogSink, Mount, Reuse};
