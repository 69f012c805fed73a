//! Whether the ports that a pod wants of its node are free (upstream: `NodePorts`).

use crate::{
    request::{HostPort, Request},
    snapshot::NodeState,
};

/// Whether any is taken.
#[must_use]
pub fn are_taken(request: &Request, state: &NodeState) -> bool {
    if request.ports.is_empty() {
        return false;
    }
    let promised = state
        .nominated
        .values()
        .filter(|other| other.priority >= request.priority && other.uid != request.uid)
        .flat_map(|other| &other.ports);
    let mut taken = state.ports.keys().chain(promised);
    taken.any(|taken| request.ports.iter().any(|wanted| clash(wanted, taken)))
}

/// The same port of the same protocol, at the same address or at all of them.
#[must_use]
pub fn clash(one: &HostPort, other: &HostPort) -> bool {
    const ALL: &str = "0.0.0.0";
    one.protocol == other.protocol
        && one.number == other.number
        && (one.address == other.address || one.address == ALL || other.address == ALL)
}
