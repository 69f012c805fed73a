//! Chooses a pod for a connection to a Service: the one with the fewest open connections, in turn among equals; with session affinity the one the
//! client had last. Pure state; the clock comes in.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// Clients whose pod is remembered, per Service. Beyond it the one longest silent is forgotten.
const CLIENTS_LIMIT: usize = 10_000;

/// The state of one Service's balancing.
#[derive(Debug, Default)]
pub struct Balancer {
    /// Open connections by backend.
    open: HashMap<SocketAddr, usize>,
    /// Where the last choice among equals ended.
    turn: usize,
    /// The backend each client had and when it last connected.
    clients: HashMap<IpAddr, (SocketAddr, Instant)>,
}

impl Balancer {
    /// Chooses one of `backends` for `client`, apart from those in `tried`.
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
            && backends.contains(backend)
            && !tried.contains(backend)
        {
            let backend = *backend;
            self.clients.insert(client, (backend, now));
            return Some(backend);
        }
        let count = backends.len();
        let start = self.turn;
        let candidates = (0..count).filter_map(|offset| {
            let index = (start + offset) % count;
            backends
                .get(index)
                .filter(|backend| !tried.contains(backend))
                .map(|backend| (index, *backend))
        });
        // The first of the least loaded, from where the last choice ended.
        let (index, backend) =
            candidates.min_by_key(|(_, backend)| self.open.get(backend).copied().unwrap_or(0))?;
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
