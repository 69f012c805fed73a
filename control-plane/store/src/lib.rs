//! The store behind the API server: ordered keys, one revision counter, compare-and-swap, multi-key transactions, prefix lists at a
//! revision and watches from a revision. Kubernetes' words for its use (objects, resource versions) are the API server's business.
//!
//! Modules in reading order: [`revision`] and [`record`] are the vocabulary, [`txn`] what can be asked for, [`storage`] the trait, [`watch`]
//! the event stream, [`error`] what can go wrong; [`state`] is the pure in-memory state machine every implementation shares; [`memory`] is the
//! reference model, [`embedded`] is the store on one machine, [`etcd`] the one on several, [`backup`] moves what they hold.

pub mod backup;
mod chance;
#[cfg(test)]
mod conformance;
pub mod embedded;
pub mod error;
pub mod etcd;
pub mod history;
pub mod memory;
pub mod metrics;
pub mod record;
pub mod revision;
mod signal;
pub mod state;
pub mod storage;
pub mod txn;
pub mod watch;

pub use embedded::{SledOptions, SledStorage, offline};
pub use error::StoreError;
pub use etcd::{EtcdOptions, EtcdStorage};
pub use memory::MemoryStorage;
pub use metrics::StoreMetrics;
pub use record::Record;
pub use revision::Revision;
pub use storage::{List, Page, Storage};
pub use txn::{Change, Durability, Expect, Op};
pub use watch::{Event, Watch};
