//! Time and chance, injected: what the pipeline reads of the clock and draws as identifiers comes from here and from nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use uuid::Uuid;

/// A source of time and identifiers.
pub trait Ambient: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// A number nobody can guess from earlier ones. For uids, name suffixes and allocations.
    fn draw(&self) -> u128;
}

/// The real clock and the operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Ambient for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn draw(&self) -> u128 {
        Uuid::new_v4().as_u128()
    }
}

/// A clock that stands still and numbers that count up: for tests and simulations that must come out the same every time.
#[derive(Debug)]
pub struct Fixed {
    now: Timestamp,
    next: AtomicU64,
}

impl Fixed {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            next: AtomicU64::new(1),
        }
    }
}

impl Ambient for Fixed {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn draw(&self) -> u128 {
        // An odd multiplier spreads consecutive numbers over all bits.
        u128::from(self.next.fetch_add(1, Ordering::Relaxed))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }
}

/// A new object's uid, a random UUID.
#[must_use]
pub fn uid(ambient: &dyn Ambient) -> String {
    uuid::Builder::from_random_bytes(ambient.draw().to_le_bytes())
        .into_uuid()
        .to_string()
}

/// Letters that spell no words and are not mistaken for each other (upstream's choice for generated names).
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them follow a generateName.
pub const SUFFIX: usize = 5;

/// What follows a generateName.
#[must_use]
pub fn name_suffix(ambient: &dyn Ambient) -> String {
    let mut drawn = ambient.draw();
    let base = LETTERS.len() as u128;
    (0..SUFFIX)
        .map(|_| {
            let at = usize::try_from(drawn % base).unwrap_or(0);
            drawn /= base;
            LETTERS.get(at).map_or('x', |letter| char::from(*letter))
        })
        .collect()
}

/// A time as objects carry it: RFC 3339 in UTC, whole seconds.
#[must_use]
pub fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_their_form_and_differ() {
        let fixed = Fixed::new(Timestamp::UNIX_EPOCH);
        let (a, b) = (uid(&fixed), uid(&fixed));
        assert_ne!(a, b);
        assert_eq!(Uuid::parse_str(&a).unwrap().get_version_num(), 4);
        let (a, b) = (name_suffix(&fixed), name_suffix(&fixed));
        assert_ne!(a, b);
        assert!(a.len() == SUFFIX && a.bytes().all(|letter| LETTERS.contains(&letter)));
        assert_eq!(timestamp(fixed.now()), "1970-01-01T00:00:00Z");
    }
}
