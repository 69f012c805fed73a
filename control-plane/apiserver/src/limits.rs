//! How much one client may have going on at once. Bounds requests in flight, waiting requests and open streams, per user; refuses with 429
//! what is over. Measures nothing but numbers: body sizes and times are bounded where bodies and times are handled.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coracle_api::status::ApiError;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The bounds. All are per API server process.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest request body in bytes. Upstream's 3 MiB: twice the largest object the store takes, so that patches fit.
    pub body_bytes: usize,
    /// How long a request may take, body included. Streams (watch, log) are not bound by it. Upstream's 60 s.
    pub request_time: Duration,
    /// Requests of one user that are worked on at once. Half would idle a machine with one busy controller; double buys nothing on few cores.
    pub in_flight_per_user: usize,
    /// Requests of one user that wait for a slot. More are refused at once.
    pub waiting_per_user: usize,
    /// How long a request waits for a slot before it is refused.
    pub waiting_time: Duration,
    /// Open streams of one user. A node has some ten watches, a controller manager some fifty; benchmarks open 10,000.
    pub streams_per_user: usize,
    /// Open streams of all users.
    pub streams: usize,
    /// A stream whose client takes nothing for so long, while something is there to take, is cut off.
    pub stall_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 3 << 20,
            request_time: Duration::from_secs(60),
            in_flight_per_user: 256,
            waiting_per_user: 2048,
            waiting_time: Duration::from_secs(10),
            streams_per_user: 20_000,
            streams: 50_000,
            stall_time: Duration::from_secs(60),
        }
    }
}

/// Counts what every user has going on.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    users: Mutex<HashMap<String, Arc<Slots>>>,
    streams: Arc<AtomicUsize>,
}

/// One user's slots.
#[derive(Debug)]
struct Slots {
    in_flight: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
}

/// With this many users known, those with nothing going on are forgotten.
const SWEEP_AT: usize = 1024;
/// How long a refused client is asked to wait, in seconds.
const RETRY_AFTER: u32 = 1;

/// A counted place; given back when dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place if fewer than `limit` are taken.
    fn take(counter: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        counter
            .try_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .ok()
            .map(|_| Self(Arc::clone(counter)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Leave to work on a request.
#[derive(Debug)]
pub struct RequestPermit {
    _permit: OwnedSemaphorePermit,
}

/// Leave to keep a stream open.
#[derive(Debug)]
pub struct StreamPermit {
    _of_user: Place,
    _of_all: Place,
}

impl Gate {
    /// A gate with these bounds.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            users: Mutex::default(),
            streams: Arc::default(),
        }
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Waits for leave to work on a request of `user`.
    ///
    /// # Errors
    /// `TooManyRequests` when too many wait already or it took too long.
    pub async fn enter(&self, user: &str) -> Result<RequestPermit, ApiError> {
        let slots = self.slots(user);
        if let Ok(permit) = Arc::clone(&slots.in_flight).try_acquire_owned() {
            return Ok(RequestPermit { _permit: permit });
        }
        let refused = || ApiError::too_many_requests(RETRY_AFTER);
        let _waiting =
            Place::take(&slots.waiting, self.limits.waiting_per_user).ok_or_else(refused)?;
        let acquired = timeout(
            self.limits.waiting_time,
            Arc::clone(&slots.in_flight).acquire_owned(),
        );
        match acquired.await {
            Ok(Ok(permit)) => Ok(RequestPermit { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(refused()),
        }
    }

    /// Asks for leave to keep a stream open for `user`.
    ///
    /// # Errors
    /// `TooManyRequests`.
    pub fn open_stream(&self, user: &str) -> Result<StreamPermit, ApiError> {
        let refused = || ApiError::too_many_requests(RETRY_AFTER);
        let slots = self.slots(user);
        Ok(StreamPermit {
            _of_user: Place::take(&slots.streams, self.limits.streams_per_user)
                .ok_or_else(refused)?,
            _of_all: Place::take(&self.streams, self.limits.streams).ok_or_else(refused)?,
        })
    }

    /// How many streams are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.load(Ordering::Acquire)
    }

    fn slots(&self, user: &str) -> Arc<Slots> {
        let mut users = self.users.lock();
        if let Some(slots) = users.get(user) {
            return Arc::clone(slots);
        }
        if users.len() >= SWEEP_AT {
            let all = self.limits.in_flight_per_user;
            users.retain(|_, slots| {
                Arc::strong_count(slots) > 1
                    || slots.in_flight.available_permits() < all
                    || slots.streams.load(Ordering::Acquire) > 0
            });
        }
        let slots = Arc::new(Slots {
            in_flight: Arc::new(Semaphore::new(self.limits.in_flight_per_user)),
            waiting: Arc::default(),
            streams: Arc::default(),
        });
        users.insert(user.to_owned(), Arc::clone(&slots));
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(Limits {
            in_flight_per_user: 1,
            waiting_per_user: 1,
            waiting_time: Duration::from_secs(3600),
            streams_per_user: 2,
            streams: 3,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn one_user_over_the_bound_waits_then_is_refused_and_others_are_not() {
        let gate = Arc::new(gate());
        let first = gate.enter("a").await.unwrap();
        let second = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter("a").await.map(drop) }
        });
        while gate.slots("a").waiting.load(Ordering::Acquire) == 0 {
            tokio::task::yield_now().await;
        }
        let refused = gate.enter("a").await.unwrap_err();
        assert_eq!(refused.code, 429);
        gate.enter("b").await.unwrap();
        drop(first);
        second.await.unwrap().unwrap();
        assert_eq!(gate.slots("a").waiting.load(Ordering::Acquire), 0);
    }

    #[test]
    fn streams_are_bounded_per_user_and_in_all_and_given_back() {
        let gate = gate();
        let mut open = vec![
            gate.open_stream("a").unwrap(),
            gate.open_stream("a").unwrap(),
        ];
        assert_eq!(gate.open_stream("a").unwrap_err().code, 429);
        open.push(gate.open_stream("b").unwrap());
        assert_eq!(gate.open_stream("c").unwrap_err().code, 429);
        assert_eq!(gate.open_streams(), 3);
        open.remove(0);
        gate.open_stream("a").unwrap();
        drop(open);
        assert_eq!(gate.open_streams(), 0);
    }

    #[test]
    fn idle_users_are_forgotten() {
        let gate = gate();
        let held = gate.open_stream("held").unwrap();
        for n in 0..5 * SWEEP_AT {
            gate.slots(&n.to_string());
        }
        assert!(gate.users.lock().len() <= SWEEP_AT);
        assert!(gate.users.lock().contains_key("held"));
        drop(held);
    }
}
