//! What a controller may remember between two plans for the same key. It is not stored: after a restart it is gone, and every planner copes with that.

use jiff::Timestamp;

use crate::autoscaler::history::History;

/// What a planner asked to be told at its next plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Memory {
    /// Nothing.
    #[default]
    Nothing,
    /// An autoscaler's recommendations and doings.
    Scaling(History),
    /// When a node last gave a sign of life.
    Heartbeat(Heartbeat),
    /// Since when something has been missing.
    MissingSince(Timestamp),
}

/// A node's last sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// What the node's own clock said. Only compared for being different.
    pub told: Option<Timestamp>,
    /// What our clock said when we first saw that.
    pub heard: Timestamp,
}
