//! The scheduler's decisions, pure: which node a pod goes to and, when to none, why. A [`Snapshot`] is what is known of nodes and their pods, [`assign()`] filters
//! its nodes and scores those that are left ([`filter`], [`score`]; the plugins are upstream's, by their names). Nothing here watches, waits or writes.

pub mod affinity;
pub mod assign;
pub mod filter;
pub mod resources;
pub mod score;
pub mod snapshot;
pub mod taints;

pub use assign::{Unschedulable, assign};
pub use resources::Resources;
pub use snapshot::{NodeState, Snapshot};
