//! The life cycle of nodes as seen from the control plane: [`heartbeat`] tells whether a node gives signs of life and marks it, [`eviction`] removes pods
//! that do not tolerate what their node is marked with, [`orphans`] removes pods whose node is no more. How fast all that goes is in [`Settings`].

pub mod eviction;
pub mod heartbeat;
pub mod orphans;

#[cfg(test)]
mod tests;

/// How long a node may be silent. Upstream's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A node that gave no sign of life for so many seconds is `Unknown`. It must be several times the nodes' own period (10 s): at half, one lost
    /// message makes a node suspect; at double, its pods are missed for longer.
    pub grace: i64,
    /// A node that has never given one gets so many seconds.
    pub startup_grace: i64,
    /// A node that is missing altogether must have been so for this many seconds before its pods are removed: it may only be replacing its object.
    pub quarantine: i64,
    /// So many pods that have ended are kept for people to look at.
    pub ended_pods: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: 40,
            startup_grace: 60,
            quarantine: 40,
            ended_pods: 12_500,
        }
    }
}

impl Settings {
    /// For clusters where three seconds of silence mean death: nodes renew their Lease every second.
    #[must_use]
    pub fn fast() -> Self {
        Self {
            grace: 3,
            startup_grace: 10,
            quarantine: 3,
            ..Self::default()
        }
    }
}

/// The taint of nodes that say they are not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint of nodes that say nothing.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
