//! What a node may do: its own Node and Lease, the pods bound to it, and what those pods refer to; nothing of other nodes. [`graph`] knows which pods are
//! where and what they refer to, [`decide`] says yes or no to a request, [`restriction`] looks at what a node writes.

pub mod decide;
pub mod graph;
pub mod restriction;

pub use graph::Graph;
