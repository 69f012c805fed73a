//! The node agent: pod workers, images, volumes, logs, probes, status.

pub mod addresses;
pub mod config;
pub mod environment;
pub mod events;
pub mod images;
pub mod link;
pub mod logs;
pub mod machine;
pub mod probe;
pub mod references;
pub mod room;
pub mod services;
pub mod status;
pub mod volumes;
