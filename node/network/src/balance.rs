//! Chooses a pod for a connection to a Service: the one with the fewest open connections, in turn among equals; with session affinity the one the
//! client had last. Pods that failed are set aside for a while, as long as there are others. Pure state; the clock comes in.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Clients whose pod is remembered, per Service. Beyond it the one longest silent is forgotten.
const CLIENTS_LIMIT: usize = 10_000;

/// How long a pod that failed is set aside at first, and at most: twice as long with each failure in a row.
const ASIDE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The state of one Service's balancing.
#[derive(Debug, Default)]
pub struct Balancer {
    /// Open connections by backend.
    open: HashMap<SocketAddr, usize>,
    /// Where the last choice among equals ended.
    turn: usize,
    /// The backend each client had and when it last connected.
    clients: HashMap<IpAddr, (SocketAddr, Instant)>,
    /// The backends that failed, for how long they are set aside, and from when.
    failing: HashMap<SocketAddr, (Duration, Instant)>,
}

/// A Service's choice, kept with a connection to tell how it went.
#[derive(Clone, Debug)]
pub struct Backend {
    pub(crate) balancer: Arc<Mutex<Balancer>>,
    pub(crate) address: SocketAddr,
}

impl Backend {
    /// The pod did not answer as it should: others are preferred for a while.
    pub fn failed(&self) {
        self.balancer.lock().failed(self.address, Instant::now());
    }
}

impl Balancer {
    /// Chooses one of `backends`, which are ordered, for `client`, apart from those in `tried`.
    pub fn pick(
        &mut self,
        backends: &[SocketAddr],
        tried: &[SocketAddr],
        client: IpAddr,
        affinity: Option<Duration>,
        now: Instant,
    ) -> Option<SocketAddr> {
        if let Some(window) = affinity
            && let Some((backend, last)) = self.clients.get(&client)
            && now.duration_since(*last) <= window
            && backends.binary_search(backend).is_ok()
            && !tried.contains(backend)
            && !self.is_aside(backend, now)
        {
            let backend = *backend;
            self.clients.insert(client, (backend, now));
            return Some(backend);
        }
        // The first of the least loaded, from where the last choice ended; those set aside come last.
        let count = backends.len();
        let start = self.turn;
        let candidates = (0..count).filter_map(|offset| {
            let index = (start + offset) % count;
            let backend = backends.get(index)?;
            (!tried.contains(backend)).then_some((index, *backend))
        });
        let load = |backend: &SocketAddr| {
            let open = self.open.get(backend).copied().unwrap_or(0);
            (self.is_aside(backend, now), open)
        };
        let (index, backend) = candidates.min_by_key(|(_, backend)| load(backend))?;
        self.turn = index + 1;
        if affinity.is_some() {
            self.remember(client, backend, now);
        }
        Some(backend)
    }

    fn remember(&mut self, client: IpAddr, backend: SocketAddr, now: Instant) {
        if self.clients.len() >= CLIENTS_LIMIT && !self.clients.contains_key(&client) {
            let oldest = self
                .clients
                .iter()
                .min_by_key(|(_, (_, last))| *last)
                .map(|(client, _)| *client);
            if let Some(oldest) = oldest {
                self.clients.remove(&oldest);
            }
        }
        self.clients.insert(client, (backend, now));
    }

    /// `backend` did not take a connection, or did not do what it was for.
    pub fn failed(&mut self, backend: SocketAddr, now: Instant) {
        // Pods that are gone are not told of: forget those whose time has been over for long.
        self.failing
            .retain(|_, (aside, since)| now.saturating_duration_since(*since) <= *aside + ASIDE.1);
        let (aside, since) = self.failing.entry(backend).or_insert((ASIDE.0 / 2, now));
        *aside = aside.saturating_mul(2).min(ASIDE.1);
        *since = now;
    }

    /// `backend` is well.
    pub fn succeeded(&mut self, backend: SocketAddr) {
        self.failing.remove(&backend);
    }

    fn is_aside(&self, backend: &SocketAddr, now: Instant) -> bool {
        // Most of the time there is none, and that is told without hashing.
        !self.failing.is_empty()
            && self
                .failing
                .get(backend)
                .is_some_and(|(aside, since)| now.saturating_duration_since(*since) < *aside)
    }

    /// A connection to `backend` is open.
    pub fn opened(&mut self, backend: SocketAddr) {
        *self.open.entry(backend).or_default() += 1;
    }

    /// A connection to `backend` has ended.
    pub fn closed(&mut self, backend: SocketAddr) {
        if let Some(open) = self.open.get_mut(&backend) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&backend);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u8) -> Vec<SocketAddr> {
        (1..=count)
            .map(|last| SocketAddr::from(([10, 1, 0, last], 80)))
            .collect()
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 9, 9));

    #[test]
    fn equals_take_turns() {
        let (mut balancer, backends, now) = (Balancer::default(), backends(3), Instant::now());
        let mut count: HashMap<SocketAddr, usize> = HashMap::new();
        for _ in 0..300 {
            *count
                .entry(balancer.pick(&backends, &[], CLIENT, None, now).unwrap())
                .or_default() += 1;
        }
        assert!(count.values().all(|count| *count == 100), "{count:?}");
    }

    #[test]
    fn the_least_loaded_is_chosen_and_those_tried_are_not() {
        let (mut balancer, backends, now) = (Balancer::default(), backends(3), Instant::now());
        balancer.opened(backends[0]);
        balancer.opened(backends[1]);
        for _ in 0..3 {
            assert_eq!(
                balancer.pick(&backends, &[], CLIENT, None, now),
                Some(backends[2])
            );
        }
        balancer.closed(backends[1]);
        assert_eq!(
            balancer.pick(&backends, &backends[2..], CLIENT, None, now),
            Some(backends[1])
        );
        assert_eq!(balancer.pick(&backends, &backends, CLIENT, None, now), None);
        assert_eq!(balancer.pick(&[], &[], CLIENT, None, now), None);
    }

    #[test]
    fn those_that_failed_are_set_aside_longer_each_time_and_used_when_all_have() {
        let (mut balancer, backends, now) = (Balancer::default(), backends(2), Instant::now());
        let (bad, good) = (backends[0], backends[1]);
        let after = |millis| now + Duration::from_millis(millis);
        let pick = |balancer: &mut Balancer, tried: &[SocketAddr], at| {
            balancer.pick(&backends, tried, CLIENT, None, at).unwrap()
        };
        balancer.failed(bad, now);
        balancer.opened(good);
        assert_eq!(pick(&mut balancer, &[], after(999)), good);
        assert_eq!(pick(&mut balancer, &[], after(1000)), bad);
        balancer.failed(bad, after(1000));
        assert_eq!(pick(&mut balancer, &[], after(2999)), good);
        assert_eq!(pick(&mut balancer, &[], after(3000)), bad);
        // Better one that failed than none.
        balancer.failed(bad, after(3000));
        assert_eq!(pick(&mut balancer, &[good], after(3001)), bad);
        balancer.succeeded(bad);
        assert_eq!(pick(&mut balancer, &[], after(3002)), bad);
        for _ in 0..20 {
            balancer.failed(bad, now);
        }
        assert_eq!(pick(&mut balancer, &[], now + ASIDE.1), bad);
    }

    #[test]
    fn a_client_stays_with_its_pod_until_it_was_silent_too_long() {
        let (mut balancer, backends, now) = (Balancer::default(), backends(3), Instant::now());
        let window = Some(Duration::from_secs(60));
        let first = balancer.pick(&backends, &[], CLIENT, window, now).unwrap();
        for seconds in [30, 80, 130] {
            assert_eq!(
                balancer.pick(
                    &backends,
                    &[],
                    CLIENT,
                    window,
                    now + Duration::from_secs(seconds)
                ),
                Some(first)
            );
        }
        let later = now + Duration::from_secs(200);
        assert_ne!(
            balancer.pick(&backends, &[], CLIENT, window, later),
            Some(first)
        );
        let rest: Vec<_> = backends
            .iter()
            .copied()
            .filter(|backend| *backend != first)
            .collect();
        assert_ne!(
            balancer.pick(&rest, &[], CLIENT, window, later),
            Some(first)
        );
    }
}
