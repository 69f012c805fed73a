//! The ranges that Service addresses and node ports are taken from. Pure: proposes candidates, knows not which are taken.

use std::{fmt, net::Ipv4Addr, ops::RangeInclusive, str::FromStr};

/// The virtual addresses of Services, in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    base: u32,
    bits: u8,
}

/// Why a text is no service range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 range of 8 to 30 bits such as 10.96.0.0/16")]
pub struct BadRange(String);

impl FromStr for ServiceRange {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let bad = || BadRange(text.to_owned());
        let (base, bits) = text.split_once('/').ok_or_else(bad)?;
        let base: Ipv4Addr = base.parse().map_err(|_| bad())?;
        let bits: u8 = bits.parse().map_err(|_| bad())?;
        if !(8..=30).contains(&bits) {
            return Err(bad());
        }
        let mask = u32::MAX << (32 - u32::from(bits));
        Ok(Self {
            base: base.to_bits() & mask,
            bits,
        })
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.bits)
    }
}

impl Default for ServiceRange {
    /// 10.96.0.0/12, as kubeadm.
    fn default() -> Self {
        Self {
            base: Ipv4Addr::new(10, 96, 0, 0).to_bits(),
            bits: 12,
        }
    }
}

impl ServiceRange {
    /// How many addresses can be given out: all but the first and the last.
    #[must_use]
    pub fn size(&self) -> u32 {
        (1_u32 << (32 - u32::from(self.bits))) - 2
    }

    /// The address of the `kubernetes` Service: the first.
    #[must_use]
    pub fn first(&self) -> Ipv4Addr {
        self.at(0)
    }

    /// Whether `ip` can be given out.
    #[must_use]
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        ip.to_bits()
            .checked_sub(self.base)
            .is_some_and(|offset| (1..=self.size()).contains(&offset))
    }

    fn at(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1 + n)
    }

    /// All addresses in the order in which they are to be tried. Starts somewhere behind the band that upstream leaves to addresses chosen by
    /// hand (KEP-3070), which comes last.
    pub fn candidates(&self, drawn: u128) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let range = *self;
        let size = range.size();
        let band = if size < 16 {
            0
        } else {
            (size / 16).clamp(16, 256).min(size - 1)
        };
        rotated(size - band, drawn)
            .map(move |n| band + n)
            .chain(0..band)
            .map(move |n| range.at(n))
    }
}

/// All ports of a range in the order in which they are to be tried.
pub fn ports(range: &RangeInclusive<u16>, drawn: u128) -> impl Iterator<Item = u16> + use<> {
    let first = *range.start();
    let size = u32::from(range.end().saturating_sub(first)) + 1;
    rotated(size, drawn).filter_map(move |n| Some(first + u16::try_from(n).ok()?))
}

/// 0 to `size` - 1, beginning anywhere.
fn rotated(size: u32, drawn: u128) -> impl Iterator<Item = u32> {
    let start = u32::try_from(drawn % u128::from(size.max(1))).unwrap_or(0);
    (start..size).chain(0..start)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_are_parsed_and_bounded() {
        let range: ServiceRange = "10.96.3.7/16".parse().unwrap();
        assert_eq!(range.to_string(), "10.96.0.0/16");
        assert_eq!(range.first(), Ipv4Addr::new(10, 96, 0, 1));
        assert!(range.contains(Ipv4Addr::new(10, 96, 255, 254)));
        for outside in [
            [10, 96, 0, 0],
            [10, 96, 255, 255],
            [10, 97, 0, 1],
            [10, 95, 0, 1],
        ] {
            assert!(!range.contains(outside.into()), "{outside:?}");
        }
        for bad in [
            "",
            "10.96.0.0",
            "10.96.0.0/31",
            "10.96.0.0/7",
            "fd00::/64",
            "a/16",
        ] {
            assert!(bad.parse::<ServiceRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_candidate_comes_once_and_the_static_band_last() {
        for text in ["10.0.0.0/30", "10.0.0.0/28", "10.0.0.0/24", "10.0.0.0/20"] {
            let range: ServiceRange = text.parse().unwrap();
            for drawn in [0, 1, 77, u128::MAX] {
                let candidates: Vec<_> = range.candidates(drawn).collect();
                let distinct: BTreeSet<_> = candidates.iter().copied().collect();
                assert_eq!(distinct.len(), range.size() as usize, "{text}");
                assert_eq!(candidates.len(), distinct.len(), "{text}");
                assert!(candidates.iter().all(|ip| range.contains(*ip)), "{text}");
            }
        }
        let range: ServiceRange = "10.0.0.0/24".parse().unwrap();
        assert_ne!(range.candidates(0).next(), Some(range.first()));
        let tried: Vec<_> = ports(&(30000..=30003), 2).collect();
        assert_eq!(tried, [30002, 30003, 30000, 30001]);
    }
}
