//! What a store can answer instead of doing what was asked, and which of it is worth trying again.

use std::sync::Arc;

use crate::{record::Record, revision::Revision};

/// Why an operation did not happen.
///
/// `Conflict`: re-read, decide again. `Unavailable`: back off and repeat; a write may or may not have happened. `Compacted`: list afresh.
/// The others are final for the same input.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold; nothing was changed.
    #[error("key {key} is not as expected")]
    Conflict {
        /// The first key whose precondition failed.
        key: String,
        /// What the key holds instead.
        found: Option<Arc<Record>>,
    },
    /// The asked-for history is gone.
    #[error("revision is older than the oldest kept, {oldest}")]
    Compacted {
        /// The oldest revision that can still be asked for.
        oldest: Revision,
    },
    /// The asked-for revision has not happened yet.
    #[error("revision is newer than the store's, {current}")]
    Future {
        /// The store's revision.
        current: Revision,
    },
    /// The value or transaction is over the store's limit; nothing was changed.
    #[error("{size} bytes are more than the {limit} allowed")]
    TooLarge {
        /// What was asked for, in bytes.
        size: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// The store can't serve now (closing, disk trouble, no quorum).
    #[error("store unavailable: {reason}")]
    Unavailable {
        /// What is wrong, for the operator.
        reason: String,
    },
    /// What is on disk is not what was written.
    #[error(
        "store damaged: {reason}; nothing was changed, and nothing is served that may be older than what was acknowledged. Bring back the missing file, or make a new store of the newest backup with `coracle store restore`"
    )]
    Corrupt {
        /// What was found, for the operator.
        reason: String,
    },
    /// What is on disk was written by another version and is not ours to read.
    #[error("store in another format: {reason}")]
    Unsupported {
        /// Which, and what helps.
        reason: String,
    },
    /// The request itself makes no sense (one key twice, an empty key).
    #[error("bad request to the store: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
}
