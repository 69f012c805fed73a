//! The node agent: pod workers, images, volumes, logs, probes, status. [`Agent`] is all of it; in reading order below it: `pods` (who is here), `worker` (what
//! happens to one), `sandbox` (what it holds), then the nouns they use.

pub mod addresses;
pub mod agent;
pub mod config;
pub mod environment;
pub mod events;
pub mod images;
pub mod link;
pub mod link_keeper;
pub mod logs;
pub mod machine;
pub mod probe;
pub mod references;
pub mod room;
pub mod services;
pub mod status;
pub mod terminal;
pub mod unsupported;
pub mod volumes;

mod attached;
mod commands;
mod endpoint;
mod heartbeat;
mod node_object;
mod parts;
mod peers;
mod pods;
mod policies;
mod publisher;
mod said;
mod sandbox;
mod toolbox;
mod usage;
mod worker;

pub use agent::{Agent, AgentError};
pub use config::Config;
