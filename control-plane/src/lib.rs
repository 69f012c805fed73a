//! Wires store, API server, registry, scheduler and controllers into one process. [`config`] says how, [`server`] does it.

pub mod config;
pub mod server;

pub use config::Config;
pub use server::{ControlPlane, ServerError};
