//! Memory: one account per container over all memories and tables of all its instances. Growth beyond the limit is refused; what the guest does
//! then decides how it ends, and whoever asks learns that it was refused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use wasmtime::ResourceLimiter;

/// What an element of a table costs the host.
const TABLE_ELEMENT_BYTES: u64 = 16;

/// A container's account.
#[derive(Debug)]
pub struct Account {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
    refused: AtomicBool,
}

impl Account {
    /// An account with a limit in bytes, or none but the address space's.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Arc<Self> {
        let limit = limit.unwrap_or(u64::MAX);
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        })
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes ever in use.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if the limit allows.
    fn take(&self, bytes: u64) -> bool {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            });
        match taken {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                true
            }
            Err(_) => {
                self.refused.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One instance's part of an account. Dropping it gives everything back.
#[derive(Debug)]
pub struct MemoryLimiter {
    account: Arc<Account>,
    held: u64,
    refused: bool,
}

impl MemoryLimiter {
    /// A part of `account`.
    #[must_use]
    pub fn new(account: Arc<Account>) -> Self {
        Self {
            account,
            held: 0,
            refused: false,
        }
    }

    /// Whether this instance was ever refused memory.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.refused
    }

    fn grow(&mut self, current: u64, desired: u64) -> bool {
        let more = desired.saturating_sub(current);
        let allowed = self.account.take(more);
        if allowed {
            self.held += more;
        } else {
            self.refused = true;
        }
        allowed
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        self.account.give_back(self.held);
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(current as u64, desired as u64))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(
            current as u64 * TABLE_ELEMENT_BYTES,
            desired as u64 * TABLE_ELEMENT_BYTES,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_share_the_limit_and_give_back_what_they_held() {
        let account = Account::new(Some(100));
        let mut first = MemoryLimiter::new(Arc::clone(&account));
        let mut second = MemoryLimiter::new(Arc::clone(&account));
        assert!(first.memory_growing(0, 60, None).unwrap());
        assert!(!second.memory_growing(0, 60, None).unwrap());
        assert!(second.refused() && !first.refused());
        assert!(second.table_growing(0, 2, None).unwrap());
        assert_eq!((account.used(), account.peak()), (92, 92));
        drop(first);
        assert!(second.memory_growing(0, 60, None).unwrap());
        drop(second);
        assert_eq!((account.used(), account.peak()), (0, 92));
    }
}
