//! What a store counts about itself, for Prometheus. What the disk is charged is the point: it is flash memory's life.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What bytes were written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Part {
    /// What acknowledging costs.
    Log,
    /// What the state at the last checkpoint costs; the file system and sled's own cleaning come on top.
    Checkpoint,
    /// What keeping volatile content over an orderly restart costs.
    Volatile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Written {
    part: Part,
}

/// The numbers. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct StoreMetrics {
    written: Family<Written, Counter>,
    /// Transactions that changed something.
    pub transactions: Counter,
    /// Transactions refused because something was not as expected.
    pub conflicts: Counter,
    /// Times the disk was asked to make the log durable: once per group of transactions.
    pub syncs: Counter,
    /// Failed attempts to bring the log into the checkpoint.
    pub checkpoint_failures: Counter,
    /// 1 while nothing can be written.
    pub stopped: Gauge,
    /// The store's revision.
    pub revision: Gauge,
    /// Events kept for watches to resume from.
    pub history_events: Gauge,
    /// The memory they are taken to hold.
    pub history_bytes: Gauge,
    /// Log segments that wait for the checkpoint.
    pub backlog: Gauge,
}

impl StoreMetrics {
    /// Makes the numbers part of `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let store = registry.sub_registry_with_prefix("coracle_store");
        store.register(
            "bytes_written",
            "Bytes handed to the disk",
            self.written.clone(),
        );
        store.register(
            "transactions",
            "Transactions that changed something",
            self.transactions.clone(),
        );
        store.register(
            "conflicts",
            "Transactions refused by a precondition",
            self.conflicts.clone(),
        );
        store.register("log_syncs", "Syncs of the log", self.syncs.clone());
        store.register(
            "checkpoint_failures",
            "Failed attempts to fold the log into the checkpoint",
            self.checkpoint_failures.clone(),
        );
        store.register(
            "writes_stopped",
            "1 while nothing can be written",
            self.stopped.clone(),
        );
        store.register("revision", "The store's revision", self.revision.clone());
        store.register(
            "history_events",
            "Events kept for watches",
            self.history_events.clone(),
        );
        store.register(
            "history_bytes",
            "Memory held by kept events",
            self.history_bytes.clone(),
        );
        store.register(
            "checkpoint_backlog",
            "Log segments waiting for the checkpoint",
            self.backlog.clone(),
        );
    }

    /// Bytes appended to the log, all in all.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.written
            .get_or_create(&Written { part: Part::Log })
            .get()
    }

    pub(crate) fn logged(&self, bytes: u64) {
        self.written
            .get_or_create(&Written { part: Part::Log })
            .inc_by(bytes);
    }

    pub(crate) fn checkpointed(&self, bytes: u64) {
        let part = Part::Checkpoint;
        self.written.get_or_create(&Written { part }).inc_by(bytes);
    }

    pub(crate) fn kept(&self, bytes: u64) {
        let part = Part::Volatile;
        self.written.get_or_create(&Written { part }).inc_by(bytes);
    }
}

/// A number as gauges take it.
pub(crate) fn gauge(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
