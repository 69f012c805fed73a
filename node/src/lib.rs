//! The node agent: pod workers, images, volumes, logs, probes, status.

pub mod link;
