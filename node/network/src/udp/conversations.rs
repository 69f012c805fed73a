//! Who may go on talking by datagram because policies let them begin. Pure state; the clock comes in.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// A conversation in which nobody says anything for so long is over (Linux' `nf_conntrack_udp_timeout_stream`).
const SILENCE: Duration = Duration::from_secs(120);
/// Conversations of one pod. Beyond it, those that are over go, and then the one longest silent.
const LIMIT: usize = 4096;

/// The conversations of a pod: by its own address and the other's.
#[derive(Debug, Default)]
pub(crate) struct Conversations(HashMap<(SocketAddr, SocketAddr), Instant>);

impl Conversations {
    /// Whether there is one, which then goes on.
    pub(crate) fn goes_on(&mut self, own: SocketAddr, other: SocketAddr, now: Instant) -> bool {
        match self.0.get_mut(&(own, other)) {
            Some(last) if now.saturating_duration_since(*last) <= SILENCE => {
                *last = now;
                true
            }
            _ => false,
        }
    }

    /// Begins one.
    pub(crate) fn begin(&mut self, own: SocketAddr, other: SocketAddr, now: Instant) {
        if self.0.len() >= LIMIT && !self.0.contains_key(&(own, other)) {
            self.0
                .retain(|_, last| now.saturating_duration_since(*last) <= SILENCE);
            if self.0.len() >= LIMIT {
                let oldest = self.0.iter().min_by_key(|(_, last)| **last);
                if let Some(pair) = oldest.map(|(pair, _)| *pair) {
                    self.0.remove(&pair);
                }
            }
        }
        self.0.insert((own, other), now);
    }

    /// Ends all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_end_in_silence_and_are_bounded() {
        let (mut all, now) = (Conversations::default(), Instant::now());
        let own: SocketAddr = "10.1.0.1:53".parse().unwrap();
        let other = |port: u16| SocketAddr::from(([10, 1, 0, 2], port));
        all.begin(own, other(1), now);
        let later = now + SILENCE;
        assert!(all.goes_on(own, other(1), later));
        assert!(all.goes_on(own, other(1), later + SILENCE));
        assert!(!all.goes_on(own, other(1), later + SILENCE * 3));
        assert!(!all.goes_on(own, other(2), now));
        for port in 0..5000 {
            all.begin(own, other(port), now + Duration::from_millis(port.into()));
        }
        assert_eq!(all.0.len(), LIMIT);
        assert!(all.0.contains_key(&(own, other(4999))));
        assert!(!all.0.contains_key(&(own, other(0))));
    }
}
