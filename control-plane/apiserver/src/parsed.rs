//! Objects in parsed form, shared by all readers of the same revision: table rows and field selectors need more than the bytes.

use std::sync::Arc;

use coracle_api::status::ApiError;
use serde_json::Value;

use crate::{
    encoded::Stored,
    recent::{Key, Recent},
};

/// How many objects are kept parsed. A change is looked at by all its watchers within milliseconds; what is listed is not looked at again soon.
const ENTRIES: usize = 512;
/// How many bytes of JSON they may be. Parsed they take several times as much.
const WEIGHT: usize = 4 << 20;

/// A cache of parsed objects.
#[derive(Debug)]
pub struct Parsed {
    recent: Recent<Arc<Value>>,
}

impl Default for Parsed {
    fn default() -> Self {
        Self {
            recent: Recent::new(ENTRIES, WEIGHT),
        }
    }
}

impl Parsed {
    /// The object of `stored`, parsed once.
    ///
    /// # Errors
    /// `Internal` when the record is damaged.
    pub fn get(&self, stored: &Stored) -> Result<Arc<Value>, ApiError> {
        let record = stored.record();
        let key = Key {
            key: Arc::clone(&record.key),
            // The last state of a deleted object differs from the record in its resourceVersion.
            revision: stored.revision(),
            variant: u8::from(stored.revision() != record.modified),
        };
        self.recent.get_or(key, || {
            let value = Arc::new(stored.value()?);
            Ok((value, record.value.len()))
        })
    }
}
