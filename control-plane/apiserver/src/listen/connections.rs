//! The connections of a listener: how many there are, which are idle, and who makes room when there are too many. No sockets, no HTTP.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// All connections.
#[derive(Debug)]
pub struct Connections {
    limit: usize,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
}

/// One connection, as far as others care.
#[derive(Debug)]
pub struct Connection {
    /// Requests under way, answers included.
    under_way: AtomicUsize,
    /// Another protocol has taken over: never idle again.
    upgraded: AtomicBool,
    /// Since when no request is under way, and whether there has been one.
    idle: Mutex<(Instant, bool)>,
    /// Cancelled when the connection has to go.
    pub close: CancellationToken,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    id: u64,
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

/// A request under way; ended when dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Connection>);

impl Connections {
    /// Room for `limit` connections.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            next: AtomicU64::new(0),
            open: Mutex::default(),
        }
    }

    /// A place for a new connection; the one that has been idle longest makes room if it must. `None` when all are busy.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open.lock();
        if open.len() >= self.limit {
            let oldest = longest_idle(&open)?;
            if let Some(connection) = open.remove(&oldest) {
                connection.close.cancel();
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            under_way: AtomicUsize::new(0),
            upgraded: AtomicBool::new(false),
            idle: Mutex::new((Instant::now(), false)),
            close: CancellationToken::new(),
        });
        open.insert(id, Arc::clone(&connection));
        Some(Place {
            id,
            connections: Arc::clone(self),
            connection,
        })
    }

    /// Closes the connection that has been idle longest. Says whether there was one.
    pub fn evict(&self) -> bool {
        let mut open = self.open.lock();
        let Some(connection) = longest_idle(&open).and_then(|oldest| open.remove(&oldest)) else {
            return false;
        };
        connection.close.cancel();
        true
    }
}

/// The connection that makes room: those that never sent a request first, then by how long they have been idle.
fn longest_idle(open: &HashMap<u64, Arc<Connection>>) -> Option<u64> {
    open.iter()
        .filter_map(|(id, connection)| {
            let (since, used) = connection.idle_since()?;
            Some((used, since, *id))
        })
        .min()
        .map(|(_, _, id)| id)
}

impl Connection {
    /// Since when the connection is idle, and whether it ever was not; `None` while a request is under way.
    #[must_use]
    pub fn idle_since(&self) -> Option<(Instant, bool)> {
        let idle = self.idle.lock();
        let busy =
            self.under_way.load(Ordering::Acquire) > 0 || self.upgraded.load(Ordering::Acquire);
        (!busy).then_some(*idle)
    }

    /// Another protocol takes the connection over.
    pub fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    /// A request begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        UnderWay(Arc::clone(self))
    }
}

impl Place {
    /// The connection that has the place.
    #[must_use]
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.id);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut idle = self.0.idle.lock();
        *idle = (Instant::now(), true);
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_never_asked_makes_room_first_then_who_is_idle_longest() {
        let connections = Arc::new(Connections::new(3));
        let used = connections.enter().unwrap();
        drop(used.connection().begin());
        let busy = connections.enter().unwrap();
        let request = busy.connection().begin();
        let silent = connections.enter().unwrap();
        let next = connections.enter().unwrap();
        assert!(silent.connection().close.is_cancelled());
        assert!(!used.connection().close.is_cancelled());
        let _request = next.connection().begin();
        let other = connections.enter().unwrap();
        assert!(used.connection().close.is_cancelled());
        let _request = other.connection().begin();
        assert!(connections.enter().is_none(), "all are busy");
        assert!(!connections.evict());
        assert!(!busy.connection().close.is_cancelled());
        drop(request);
        assert!(connections.evict());
        assert!(busy.connection().close.is_cancelled());
        assert_eq!(connections.open.lock().len(), 2);
        drop((used, busy, silent));
        assert_eq!(connections.open.lock().len(), 2);
        drop((next, other));
        assert_eq!(connections.open.lock().len(), 0);
    }

    #[test]
    fn a_connection_is_idle_from_the_end_of_its_last_request() {
        let connections = Arc::new(Connections::new(1));
        let place = connections.enter().unwrap();
        let connection = place.connection();
        let (_, used) = connection.idle_since().unwrap();
        assert!(!used);
        let (one, two) = (connection.begin(), connection.begin());
        drop(one);
        assert_eq!(connection.idle_since(), None);
        let before = Instant::now();
        drop(two);
        let (since, used) = connection.idle_since().unwrap();
        assert!(used && since >= before);
        connection.upgrade();
        assert_eq!(connection.idle_since(), None);
        assert!(!connections.evict());
    }
}
