//! Ranges of addresses in CIDR notation. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The first address, as a number; IPv4 in the low half.
    first: u128,
    bits: u8,
    is_v4: bool,
}

/// The text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of addresses in CIDR notation")]
pub struct NoCidr(String);

fn number(ip: IpAddr) -> (u128, bool) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), true),
        IpAddr::V6(ip) => (u128::from(ip), false),
    }
}

impl Cidr {
    /// The range of an address alone.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        let (first, is_v4) = number(ip);
        let bits = if is_v4 { 32 } else { 128 };
        Self { first, bits, is_v4 }
    }

    /// How many bits of an address are free.
    fn free(self) -> u32 {
        let all: u32 = if self.is_v4 { 32 } else { 128 };
        all.saturating_sub(self.bits.into())
    }

    /// Whether it has an address. No range has addresses of the other family.
    #[must_use]
    pub fn has(self, ip: IpAddr) -> bool {
        let (address, is_v4) = number(ip);
        is_v4 == self.is_v4
            && address.checked_shr(self.free()).unwrap_or(0)
                == self.first.checked_shr(self.free()).unwrap_or(0)
    }

    /// Whether an address is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let (wide, narrow) = if self.bits <= other.bits {
            (self, other)
        } else {
            (other, self)
        };
        let free = wide.free();
        wide.is_v4 == narrow.is_v4
            && narrow.first.checked_shr(free).unwrap_or(0)
                == wide.first.checked_shr(free).unwrap_or(0)
    }

    /// How narrow it is: the number of bits given.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.bits
    }
}

impl FromStr for Cidr {
    type Err = NoCidr;

    /// Bits beyond the prefix are ignored, as Kubernetes does.
    fn from_str(text: &str) -> Result<Self, NoCidr> {
        let wrong = || NoCidr(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let ip: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        let whole = Self::of(ip);
        if bits > whole.bits {
            return Err(wrong());
        }
        let range = Self { bits, ..whole };
        let free = range.free();
        let cut = whole.first.checked_shr(free).unwrap_or(0);
        Ok(Self {
            first: cut.checked_shl(free).unwrap_or(0),
            ..range
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip: IpAddr = if self.is_v4 {
            Ipv4Addr::from(u32::try_from(self.first).unwrap_or_default()).into()
        } else {
            Ipv6Addr::from(self.first).into()
        };
        write!(f, "{ip}/{}", self.bits)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_have_what_their_prefix_says() {
        let has = |range: &str, ip: &str| range.parse::<Cidr>().unwrap().has(ip.parse().unwrap());
        assert!(has("10.1.0.0/16", "10.1.255.255") && !has("10.1.0.0/16", "10.2.0.0"));
        assert!(has("0.0.0.0/0", "255.255.255.255") && !has("0.0.0.0/0", "::1"));
        assert!(has("::/0", "ff00::1") && !has("::/0", "1.2.3.4"));
        assert!(has("10.1.2.3/32", "10.1.2.3") && !has("10.1.2.3/32", "10.1.2.2"));
        assert!(has("fd00::/64", "fd00::ffff") && !has("fd00::/64", "fd00:0:0:1::"));
        assert!(has("::1/128", "::1") && !has("::1/128", "::2"));
        let overlap = |one: &str, other: &str| {
            one.parse::<Cidr>()
                .unwrap()
                .overlaps(other.parse().unwrap())
        };
        assert!(overlap("10.0.0.0/8", "10.1.0.0/16") && overlap("10.1.0.0/16", "10.0.0.0/8"));
        assert!(!overlap("10.0.0.0/16", "10.1.0.0/16") && !overlap("0.0.0.0/0", "::/0"));
        let cut: Cidr = "10.1.2.3/8".parse().unwrap();
        assert_eq!(cut.to_string(), "10.0.0.0/8");
        for wrong in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "fd00::/129",
            "x/8",
            "10.0.0.0/-1",
            "/8",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn the_text_of_a_range_is_the_range(ip in any::<IpAddr>(), bits in 0_u8..=128) {
            let most = if ip.is_ipv4() { 32 } else { 128 };
            let range: Cidr = format!("{ip}/{}", bits.min(most)).parse().unwrap();
            prop_assert!(range.has(ip));
            prop_assert_eq!(range.to_string().parse::<Cidr>().unwrap(), range);
        }
    }
}
