//! The ways to the nodes: a node opens a link, the API server sends requests over it (logs, stats). In one process the link is a direct call.

pub mod error;
pub mod nodes;

pub use error::LinkError;
pub use nodes::{Link, NodeLinks};
