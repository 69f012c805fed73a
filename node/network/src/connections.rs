//! The connections that a pod has made: each has a source port that is the only one for its destination. Pure bookkeeping.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use parking_lot::Mutex;

use crate::error::NetError;

/// Ports that are given to connections going out, as Linux' default range.
pub(crate) const EPHEMERAL: std::ops::RangeInclusive<u16> = 32768..=60999;
/// Connections that one pod may have made at a time: what they buffer is the node's memory.
const CONNECTIONS_LIMIT: usize = 16_384;

/// Which connections there are, and which port is next.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Mutex<HashSet<(SocketAddr, SocketAddr)>>,
    next: AtomicU16,
}

/// A connection's addresses, its own while it is held.
#[derive(Debug)]
pub(crate) struct Reserved {
    of: Arc<Connections>,
    pair: (SocketAddr, SocketAddr),
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            next: AtomicU16::new(*EPHEMERAL.start()),
        }
    }
}

impl Connections {
    /// All ephemeral ports once, beginning with the next.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let next = |port: u16| {
            Some(if port >= *EPHEMERAL.end() {
                *EPHEMERAL.start()
            } else {
                port + 1
            })
        };
        // The update function never declines.
        let start = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .unwrap_or(*EPHEMERAL.start());
        (start..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..start)
    }

    /// Addresses for a connection from `ip` to `target`.
    ///
    /// # Errors
    /// `AddressNotBindable` when every port is in use for this target (Linux' `EADDRNOTAVAIL`), `NewSocketLimit`.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        ip: IpAddr,
        target: SocketAddr,
    ) -> Result<Reserved, NetError> {
        let ports = self.ports();
        let mut open = self.open.lock();
        if open.len() >= CONNECTIONS_LIMIT {
            return Err(NetError::NewSocketLimit);
        }
        for port in ports {
            let pair = (SocketAddr::new(ip, port), target);
            if open.insert(pair) {
                return Ok(Reserved {
                    of: Arc::clone(self),
                    pair,
                });
            }
        }
        Err(NetError::AddressNotBindable)
    }

    /// The addresses of a connection from a port that the program chose.
    ///
    /// # Errors
    /// `AddressInUse` when there is such a connection already, `NewSocketLimit`.
    pub(crate) fn reserve_from(
        self: &Arc<Self>,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Result<Reserved, NetError> {
        let mut open = self.open.lock();
        if open.len() >= CONNECTIONS_LIMIT {
            return Err(NetError::NewSocketLimit);
        }
        if !open.insert((source, target)) {
            return Err(NetError::AddressInUse);
        }
        Ok(Reserved {
            of: Arc::clone(self),
            pair: (source, target),
        })
    }
}

impl Reserved {
    /// The connection's own address.
    pub(crate) fn source(&self) -> SocketAddr {
        self.pair.0
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.of.open.lock().remove(&self.pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_used_once_for_a_target_and_again_when_it_is_free() {
        let connections = Arc::new(Connections::default());
        let ip: IpAddr = "10.1.0.1".parse().unwrap();
        let (one, other) = (
            "10.1.0.2:80".parse().unwrap(),
            "10.1.0.3:80".parse().unwrap(),
        );
        let first = connections.reserve(ip, one).unwrap();
        let source = first.source();
        assert_eq!(
            connections.reserve_from(source, one).unwrap_err(),
            NetError::AddressInUse
        );
        // Another target may have the same port.
        connections.reserve_from(source, other).unwrap();
        drop(first);
        connections.reserve_from(source, one).unwrap();
    }

    #[test]
    fn a_pod_has_a_bounded_number_of_connections() {
        let connections = Arc::new(Connections::default());
        let ip: IpAddr = "10.1.0.1".parse().unwrap();
        let target = "10.1.0.2:80".parse().unwrap();
        let held: Vec<_> = (0..CONNECTIONS_LIMIT)
            .map(|_| connections.reserve(ip, target).unwrap())
            .collect();
        assert_eq!(
            connections.reserve(ip, target).unwrap_err(),
            NetError::NewSocketLimit
        );
        drop(held);
        assert!(connections.open.lock().is_empty());
    }
}
