//! Which pod a stream of datagrams to a Service goes to, and the way back: what connection tracking is to UDP on Linux. Pure state; the clock comes in.
//!
//! Every client has its own table, so that a pod that makes many flows forgets its own and no other's.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::vip::VipKey;

/// A flow nobody answered is forgotten after this long without a datagram, and an answered one after this long (Linux' `nf_conntrack_udp_timeout` and
/// `nf_conntrack_udp_timeout_stream`).
const UNANSWERED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(120);
/// Flows of one client. Beyond it, those that ended go, and then the one longest silent.
const FLOWS_LIMIT: usize = 4096;

/// The flows of one client.
#[derive(Debug, Default)]
pub struct Flows {
    by_service: HashMap<(SocketAddr, VipKey), Flow>,
    /// The way back: the client's address and the pod's.
    by_backend: HashMap<(SocketAddr, SocketAddr), VipKey>,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    backend: SocketAddr,
    last: Instant,
    answered: bool,
}

impl Flow {
    fn has_ended(&self, now: Instant) -> bool {
        let limit = if self.answered { ANSWERED } else { UNANSWERED };
        now.saturating_duration_since(self.last) > limit
    }
}

impl Flows {
    /// The pod that a datagram from `client` to a Service goes to because earlier ones did. `is_backend` says whether the Service still has it.
    pub fn backend(
        &mut self,
        client: SocketAddr,
        key: VipKey,
        is_backend: impl FnOnce(&SocketAddr) -> bool,
        now: Instant,
    ) -> Option<SocketAddr> {
        let flow = self.by_service.get_mut(&(client, key))?;
        if flow.has_ended(now) || !is_backend(&flow.backend) {
            self.forget(client, key);
            return None;
        }
        flow.last = now;
        Some(flow.backend)
    }

    /// Remembers that datagrams from `client` to a Service go to `backend` from now on. Tells which flows were forgotten for it.
    pub fn begin(
        &mut self,
        client: SocketAddr,
        key: VipKey,
        backend: SocketAddr,
        now: Instant,
    ) -> Vec<(SocketAddr, SocketAddr)> {
        self.forget(client, key);
        let gone = self.make_room(now);
        // What comes from the pod can stand for one Service only: the one last spoken to.
        if let Some(other) = self.by_backend.insert((client, backend), key) {
            self.by_service.remove(&(client, other));
        }
        let flow = Flow {
            backend,
            last: now,
            answered: false,
        };
        self.by_service.insert((client, key), flow);
        gone
    }

    /// The Service that a datagram from `backend` to `client` is an answer of, if any.
    pub fn answer(
        &mut self,
        client: SocketAddr,
        backend: SocketAddr,
        now: Instant,
    ) -> Option<VipKey> {
        let key = *self.by_backend.get(&(client, backend))?;
        let flow = self.by_service.get_mut(&(client, key))?;
        if flow.has_ended(now) {
            self.forget(client, key);
            return None;
        }
        flow.last = now;
        flow.answered = true;
        Some(key)
    }

    /// The next datagram to the Service chooses anew.
    pub fn forget(&mut self, client: SocketAddr, key: VipKey) {
        if let Some(flow) = self.by_service.remove(&(client, key)) {
            self.by_backend.remove(&(client, flow.backend));
        }
    }

    /// `client` speaks to `backend` itself, so what comes back is no Service's answer.
    pub fn direct(&mut self, client: SocketAddr, backend: SocketAddr) {
        if let Some(key) = self.by_backend.remove(&(client, backend)) {
            self.by_service.remove(&(client, key));
        }
    }

    /// Forgets what has ended; tells which.
    pub fn expire(&mut self, now: Instant) -> Vec<(SocketAddr, SocketAddr)> {
        let ended: Vec<_> = self
            .by_service
            .iter()
            .filter(|(_, flow)| flow.has_ended(now))
            .map(|((client, key), flow)| (*client, *key, flow.backend))
            .collect();
        let mut gone = Vec::with_capacity(ended.len());
        for (client, key, backend) in ended {
            self.forget(client, key);
            gone.push((client, backend));
        }
        gone
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_service.is_empty()
    }

    fn make_room(&mut self, now: Instant) -> Vec<(SocketAddr, SocketAddr)> {
        if self.by_service.len() < FLOWS_LIMIT {
            return Vec::new();
        }
        let mut gone = self.expire(now);
        if self.by_service.len() >= FLOWS_LIMIT {
            let oldest = self.by_service.iter().min_by_key(|(_, flow)| flow.last);
            let oldest = oldest.map(|((client, key), flow)| (*client, *key, flow.backend));
            if let Some((client, key, backend)) = oldest {
                self.forget(client, key);
                gone.push((client, backend));
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::service::Protocol;

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 1, 0, 9], port))
    }

    fn backend(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 1, 0, last], 53))
    }

    fn service(last: u8) -> VipKey {
        VipKey {
            ip: [10, 96, 0, last].into(),
            port: 53,
            protocol: Protocol::Udp,
        }
    }

    #[test]
    fn a_flow_stays_with_its_pod_and_answers_come_from_the_service() {
        let (mut flows, now) = (Flows::default(), Instant::now());
        assert_eq!(flows.backend(client(1), service(1), |_| true, now), None);
        flows.begin(client(1), service(1), backend(1), now);
        assert_eq!(
            flows.backend(client(1), service(1), |_| true, now),
            Some(backend(1))
        );
        assert_eq!(flows.answer(client(1), backend(1), now), Some(service(1)));
        assert_eq!(flows.answer(client(1), backend(2), now), None);
        assert_eq!(flows.answer(client(2), backend(1), now), None);
        // A pod that is none of the Service's any more is left.
        assert_eq!(flows.backend(client(1), service(1), |_| false, now), None);
        assert!(flows.is_empty());
    }

    #[test]
    fn answered_flows_live_longer() {
        let (mut flows, now) = (Flows::default(), Instant::now());
        flows.begin(client(1), service(1), backend(1), now);
        flows.begin(client(2), service(1), backend(1), now);
        flows.answer(client(2), backend(1), now);
        let later = now + UNANSWERED + Duration::from_secs(1);
        assert_eq!(flows.expire(later), [(client(1), backend(1))]);
        assert_eq!(
            flows.backend(client(2), service(1), |_| true, later),
            Some(backend(1))
        );
        let much_later = later + ANSWERED + Duration::from_secs(1);
        assert_eq!(flows.answer(client(2), backend(1), much_later), None);
        assert!(flows.is_empty());
    }

    #[test]
    fn speaking_to_the_pod_itself_ends_the_flow() {
        let (mut flows, now) = (Flows::default(), Instant::now());
        flows.begin(client(1), service(1), backend(1), now);
        flows.direct(client(1), backend(1));
        assert_eq!(flows.answer(client(1), backend(1), now), None);
        assert!(flows.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_the_longest_silent_goes_first() {
        let (mut flows, now) = (Flows::default(), Instant::now());
        for number in 0..=u16::try_from(FLOWS_LIMIT).unwrap() {
            let at = now + Duration::from_millis(number.into());
            flows.begin(client(number), service(1), backend(1), at);
        }
        assert_eq!(flows.by_service.len(), FLOWS_LIMIT);
        let at = now + Duration::from_secs(5);
        assert_eq!(flows.backend(client(0), service(1), |_| true, at), None);
        assert!(flows.backend(client(1), service(1), |_| true, at).is_some());
    }

    proptest! {
        /// Both directions of the table always say the same.
        #[test]
        fn the_way_back_is_that_of_a_flow(steps in proptest::collection::vec((0_u8..5, 0_u16..3, 0_u8..3, 0_u8..3, 0_u64..50), 0..60)) {
            let (mut flows, mut now) = (Flows::default(), Instant::now());
            for (what, of, to, at, seconds) in steps {
                now += Duration::from_secs(seconds);
                match what {
                    0 => drop(flows.begin(client(of), service(to), backend(at), now)),
                    1 => drop(flows.backend(client(of), service(to), |backend| backend.port() == 53, now)),
                    2 => drop(flows.answer(client(of), backend(at), now)),
                    3 => flows.direct(client(of), backend(at)),
                    _ => drop(flows.expire(now)),
                }
                prop_assert_eq!(flows.by_service.len(), flows.by_backend.len());
                for ((client, backend), key) in &flows.by_backend {
                    prop_assert_eq!(flows.by_service[&(*client, *key)].backend, *backend);
                }
            }
        }
    }
}
