//! The scheduler's decisions, pure: which node a pod goes to and, when to none, why and whose place it may take. Nothing here watches, waits or writes.
//!
//! In reading order: a [`Request`] is what a pod asks for, read once. A [`Snapshot`] is what is known of nodes and their pods; it keeps count of the pods
//! that terms of affinity and spreading select ([`groups`]), so that no decision looks at all pods. [`plugins`] filter and score nodes, by upstream's names.
//! [`assign()`] chooses one; [`preempt()`] finds whom to end where there is none; the [`Queue`] says who is next and wakes whom an event could help.

pub mod request;
pub mod resources;

mod groups;
pub mod snapshot;
pub mod topology;

pub mod plugins;

pub mod assign;
pub mod preempt;
pub mod queue;

#[cfg(test)]
mod scene;

pub use assign::{Unschedulable, assign};
pub use preempt::{Budget, Preemption, preempt};
pub use queue::{Event, Queue};
pub use request::Request;
pub use resources::Resources;
pub use snapshot::{NodeState, Snapshot};
