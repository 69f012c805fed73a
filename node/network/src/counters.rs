//! What went through a pod's network, for statistics. Only ever rises.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one pod, or of one node port.
#[derive(Debug, Default)]
pub struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
    accepted: AtomicU64,
    connected: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    denied: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes the pod read.
    pub received: u64,
    /// Bytes the pod wrote.
    pub sent: u64,
    /// Connections made to the pod.
    pub accepted: u64,
    /// Connections the pod made.
    pub connected: u64,
    /// Connections the pod tried to make in vain.
    pub refused: u64,
    /// Datagrams that found the socket's queue full.
    pub dropped: u64,
    /// Connections and datagrams, from the pod or to it, that policy did not let through.
    pub denied: u64,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            received: self.received + other.received,
            sent: self.sent + other.sent,
            accepted: self.accepted + other.accepted,
            connected: self.connected + other.connected,
            refused: self.refused + other.refused,
            dropped: self.dropped + other.dropped,
            denied: self.denied + other.denied,
        }
    }
}

impl Counters {
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now.
    #[must_use]
    pub fn read(&self) -> Traffic {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            received: of(&self.received),
            sent: of(&self.sent),
            accepted: of(&self.accepted),
            connected: of(&self.connected),
            refused: of(&self.refused),
            dropped: of(&self.dropped),
            denied: of(&self.denied),
        }
    }
}
