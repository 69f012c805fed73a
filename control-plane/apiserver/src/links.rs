//! The ways to the nodes: a node opens a link ([`upgrade`]), the API server sends requests over it (logs, stats: [`nodes`]), some of them streams both
//! ways ([`duplex`]). In one process the link is a direct call.

pub mod duplex;
pub mod error;
pub mod nodes;
pub mod upgrade;

pub use error::LinkError;
pub use nodes::{Link, LinkLimits, NodeLinks};
