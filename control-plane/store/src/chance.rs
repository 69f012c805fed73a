//! Numbers that nobody outside can guess, for telling things apart. Not for keys.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

/// Such a number.
pub(crate) fn unguessable() -> u64 {
    RandomState::new().build_hasher().finish()
}
