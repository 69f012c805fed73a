//! The tasks that wait for one thing. Taken out under the lock, woken outside it.

use std::task::{Context, Waker};

/// More tasks than one guest has pollables for a stream; beyond it the oldest is woken to look again, so that nobody is forgotten.
const LIMIT: usize = 64;

/// Waiting tasks.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    /// Adds the task of `context`.
    pub(crate) fn register(&mut self, context: &Context<'_>) {
        if self.0.iter().any(|waker| waker.will_wake(context.waker())) {
            return;
        }
        if self.0.len() == LIMIT {
            self.0.remove(0).wake();
        }
        self.0.push(context.waker().clone());
    }

    /// Takes all tasks out; wake the result once the lock is released.
    #[must_use]
    pub(crate) fn take(&mut self) -> Self {
        Self(std::mem::take(&mut self.0))
    }

    /// Wakes them.
    pub(crate) fn wake(self) {
        for waker in self.0 {
            waker.wake();
        }
    }
}
