//! What many readers want of the same change, made once: a bounded cache of things derived from one revision of one key. Knows neither
//! how they are made nor what they are. A miss costs time, never correctness.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use coracle_store::Revision;
use parking_lot::Mutex;

/// A cache of `T`s with what was put in first going first.
#[derive(Debug)]
pub struct Recent<T> {
    inner: Mutex<Inner<T>>,
    /// How many entries are kept.
    entries: usize,
    /// How many bytes the entries may weigh together.
    weight: usize,
}

#[derive(Debug)]
struct Inner<T> {
    by_key: HashMap<Key, (T, usize)>,
    order: VecDeque<Key>,
    weight: usize,
}

/// A revision of a key. `variant` tells apart different things made of the same revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key in the store.
    pub key: Arc<str>,
    /// Its revision.
    pub revision: Revision,
    /// What was made of it.
    pub variant: u8,
}

impl<T: Clone> Recent<T> {
    /// An empty cache.
    #[must_use]
    pub fn new(entries: usize, weight: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                by_key: HashMap::new(),
                order: VecDeque::new(),
                weight: 0,
            }),
            entries,
            weight,
        }
    }

    /// The entry of `key`; `make` makes it (and says what it weighs) when it is not there. Not held over `make`: two may make the same.
    ///
    /// # Errors
    /// What `make` says.
    pub fn get_or<E>(
        &self,
        key: Key,
        make: impl FnOnce() -> Result<(T, usize), E>,
    ) -> Result<T, E> {
        if let Some((found, _)) = self.inner.lock().by_key.get(&key) {
            return Ok(found.clone());
        }
        let (made, weight) = make()?;
        if weight > self.weight {
            return Ok(made);
        }
        let mut inner = self.inner.lock();
        if inner
            .by_key
            .insert(key.clone(), (made.clone(), weight))
            .is_none()
        {
            inner.order.push_back(key);
            inner.weight += weight;
        }
        while inner.order.len() > self.entries || inner.weight > self.weight {
            let Some(oldest) = inner.order.pop_front() else {
                break;
            };
            if let Some((_, weight)) = inner.by_key.remove(&oldest) {
                inner.weight = inner.weight.saturating_sub(weight);
            }
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn key(n: u64) -> Key {
        Key {
            key: "/a".into(),
            revision: Revision(n),
            variant: 0,
        }
    }

    fn made(cache: &Recent<u64>, n: u64, weight: usize) -> bool {
        let mut made = false;
        let got = cache.get_or(key(n), || {
            made = true;
            Ok::<_, Infallible>((n, weight))
        });
        assert_eq!(got, Ok(n));
        made
    }

    #[test]
    fn things_are_made_once_while_they_are_kept() {
        let cache = Recent::new(2, 100);
        assert!(made(&cache, 1, 10));
        assert!(!made(&cache, 1, 10));
        assert!(made(&cache, 2, 10) && made(&cache, 3, 10));
        assert!(made(&cache, 1, 10), "the oldest went");
        assert!(made(&cache, 4, 95));
        assert!(made(&cache, 1, 10), "the weight is bounded");
        assert!(
            made(&cache, 5, 101) && made(&cache, 5, 101),
            "too heavy to keep"
        );
    }
}
