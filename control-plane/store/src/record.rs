//! A stored value with the revisions that created and last changed it. Values are opaque bytes, shared and never copied.

use std::sync::Arc;

use bytes::Bytes;

use crate::revision::Revision;

/// One key's value at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The full key, `/`-separated by convention of the caller.
    pub key: Arc<str>,
    /// The value as it was put.
    pub value: Bytes,
    /// The revision that created the key (since it was last absent).
    pub created: Revision,
    /// The revision that put this value.
    pub modified: Revision,
}
