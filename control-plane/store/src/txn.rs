//! What a transaction asks for: per key, what must hold and what shall change. Everything or nothing.

use bytes::Bytes;

use crate::revision::Revision;

/// What must hold of a key for the transaction to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key's last change was at exactly this revision.
    At(Revision),
    /// The key exists, whatever its value.
    Exists,
    /// Nothing is required.
    Any,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key gets this value.
    Put(Bytes),
    /// The key goes. Deleting an absent key changes nothing.
    Delete,
    /// Nothing: the operation is there for its expectation.
    Keep,
}

/// Whether a change must survive a power cut before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On disk before the answer.
    #[default]
    Durable,
    /// Ordered and watched like every other change, but may be lost by a crash. For heartbeats and events, which would wear out flash.
    Volatile,
}

/// One key's part in a transaction. A key appears at most once per transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The key.
    pub key: String,
    /// Its precondition.
    pub expect: Expect,
    /// Its change.
    pub change: Change,
    /// What the change is worth.
    pub durability: Durability,
}

impl Op {
    /// Creates `key`; conflicts when it exists.
    pub fn create(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            expect: Expect::Absent,
            change: Change::Put(value.into()),
            durability: Durability::Durable,
        }
    }

    /// Replaces `key` if it still is at `seen`.
    pub fn update(key: impl Into<String>, seen: Revision, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            expect: Expect::At(seen),
            change: Change::Put(value.into()),
            durability: Durability::Durable,
        }
    }

    /// Deletes `key` if it still is at `seen`.
    pub fn delete(key: impl Into<String>, seen: Revision) -> Self {
        Self {
            key: key.into(),
            expect: Expect::At(seen),
            change: Change::Delete,
            durability: Durability::Durable,
        }
    }

    /// Requires something of `key` and leaves it as it is.
    pub fn check(key: impl Into<String>, expect: Expect) -> Self {
        Self {
            key: key.into(),
            expect,
            change: Change::Keep,
            durability: Durability::Durable,
        }
    }

    /// The same operation, volatile.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.durability = Durability::Volatile;
        self
    }
}
