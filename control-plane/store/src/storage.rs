//! The storage trait: what the API server may ask of whatever keeps its objects. Implementations are held against one conformance suite.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    error::StoreError, metrics::StoreMetrics, record::Record, revision::Revision, txn::Op,
    watch::Watch,
};

/// A boxed future, so that `dyn Storage` works.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A range read: the keys that start with `prefix`, in key order.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Only keys that start with this.
    pub prefix: String,
    /// Only keys that sort after this one (the last key of the page before).
    pub after: Option<String>,
    /// At most this many records.
    pub limit: Option<usize>,
    /// As of this revision; `None` is now.
    pub at: Option<Revision>,
}

/// What a range read found.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records in key order.
    pub records: Vec<Arc<Record>>,
    /// The revision the page is true at.
    pub revision: Revision,
    /// How many records of the prefix follow after this page.
    pub remaining: u64,
}

/// An ordered key-value store with history.
pub trait Storage: Send + Sync + 'static {
    /// Does all of `ops` or nothing, at one new revision, which is returned. Without any change the current revision is returned.
    ///
    /// # Guarantees
    /// When this returns `Ok` and any changed key was [`Durable`](crate::Durability::Durable), the transaction survives a power cut. Watchers
    /// see the transaction's events in one batch, in the order of `ops`, after it is durable and never before.
    /// # Cancellation
    /// Once polled the transaction may still happen; callers re-read.
    /// # Errors
    /// `Conflict`, `TooLarge`, `Invalid`: nothing happened. `Unavailable`: unknown.
    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// The record of `key` now, having seen every transaction acknowledged before the call.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Arc<Record>>, StoreError>>;

    /// A page of records at one revision.
    ///
    /// # Errors
    /// `Compacted` or `Future` when `list.at` is outside the kept history.
    fn list(&self, list: List) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// Everything that happens to keys with `prefix` after revision `after`: no gap, no repetition, in order.
    ///
    /// # Errors
    /// `Compacted` when that history is gone, `Future` when `after` has not happened.
    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        after: Revision,
    ) -> BoxFuture<'a, Result<Watch, StoreError>>;

    /// The revision of the last transaction that happened.
    fn revision(&self) -> Revision;

    /// Forgets the history up to `to`; the current values stay. Later reads and watches from before `to` get `Compacted`.
    fn compact(&self, to: Revision) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What it counts about itself; `None` for stores that count nothing.
    fn metrics(&self) -> Option<&StoreMetrics> {
        None
    }
}
