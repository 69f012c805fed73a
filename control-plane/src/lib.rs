//! Wires store, API server, registry, scheduler and controllers into one process. [`config`] says how, [`server`] does it,
//! [`credentials`] says who may prove to be whom, [`driver`] runs the controllers, on the [`leader`] where there are several.

mod compaction;
pub mod config;
pub mod credentials;
mod deciding;
pub mod driver;
pub mod leader;
pub mod scheduler_loop;
pub mod server;

pub use config::Config;
pub use credentials::Credentials;
pub use server::{ControlPlane, ServerError};
