//! The addresses of the node's pods: which are taken, which is next. An address is not given again while its pod lives, and not soon after.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

/// A range of IPv4 addresses for pods, in CIDR notation. The first address stands for the node's side, the last for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRange {
    network: u32,
    bits: u32,
}

/// The text is no range for pods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no range of pod addresses: it must be an IPv4 network in CIDR notation with /8 to /30"
)]
pub struct RangeError {
    text: String,
}

impl Default for PodRange {
    /// 10.244.0.0/24: what a node gets in most clusters.
    fn default() -> Self {
        Self {
            network: u32::from(Ipv4Addr::new(10, 244, 0, 0)),
            bits: 24,
        }
    }
}

impl FromStr for PodRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let wrong = || RangeError {
            text: text.to_owned(),
        };
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        if !(8..=30).contains(&bits) {
            return Err(wrong());
        }
        let network = u32::from(address);
        let range = Self { network, bits };
        if network & range.host_mask() != 0 {
            return Err(wrong());
        }
        Ok(range)
    }
}

impl fmt::Display for PodRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.bits)
    }
}

impl PodRange {
    fn host_mask(self) -> u32 {
        u32::MAX >> self.bits
    }

    /// The address that the node's own connections to its pods come from.
    #[must_use]
    pub fn gateway(self) -> IpAddr {
        Ipv4Addr::from(self.network | 1).into()
    }

    /// Whether an address can be a pod's.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else {
            return false;
        };
        let address = u32::from(address);
        let host = address & self.host_mask();
        address & !self.host_mask() == self.network && host > 1 && host < self.host_mask()
    }

    /// How many pods it has addresses for.
    #[must_use]
    pub fn size(self) -> u32 {
        self.host_mask().saturating_sub(2)
    }
}

/// Every address of the range is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {size} pod addresses of {range} are taken")]
pub struct Exhausted {
    range: PodRange,
    size: u32,
}

/// Who has which address.
#[derive(Debug)]
pub struct Addresses {
    range: PodRange,
    owners: BTreeMap<IpAddr, String>,
    /// Where the search for a free one goes on.
    next: u32,
}

impl Addresses {
    /// All are free.
    #[must_use]
    pub fn new(range: PodRange) -> Self {
        Self {
            range,
            owners: BTreeMap::new(),
            next: 2,
        }
    }

    /// Keeps `address` for the pod with this uid, which had it before the agent's restart. Says whether it may.
    pub fn reserve(&mut self, uid: &str, address: IpAddr) -> bool {
        if !self.range.has(address) {
            return false;
        }
        let owner = self.owners.entry(address).or_insert_with(|| uid.to_owned());
        owner == uid
    }

    /// The address of the pod with this uid: the one it has, or a free one.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn allocate(&mut self, uid: &str) -> Result<IpAddr, Exhausted> {
        let own = self.owners.iter().find(|(_, owner)| *owner == uid);
        if let Some((address, _)) = own {
            return Ok(*address);
        }
        let exhausted = Exhausted {
            range: self.range,
            size: self.range.size(),
        };
        if self.owners.len() >= usize::try_from(exhausted.size).unwrap_or(usize::MAX) {
            return Err(exhausted);
        }
        for _ in 0..=self.range.host_mask() {
            let candidate = IpAddr::V4(Ipv4Addr::from(self.range.network | self.next));
            self.next = (self.next + 1) & self.range.host_mask();
            if self.range.has(candidate) && !self.owners.contains_key(&candidate) {
                self.owners.insert(candidate, uid.to_owned());
                return Ok(candidate);
            }
        }
        Err(exhausted)
    }

    /// Frees what the pod with this uid has.
    pub fn release(&mut self, uid: &str) {
        self.owners.retain(|_, owner| owner != uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> PodRange {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_networks_and_nothing_else() {
        assert_eq!(range("10.244.3.0/24").to_string(), "10.244.3.0/24");
        assert_eq!(range("10.244.0.0/16").size(), 65_533);
        for wrong in [
            "10.244.0.1/24",
            "10.244.0.0",
            "10.0.0.0/31",
            "10.0.0.0/7",
            "fd00::/64",
            "x/24",
            "",
        ] {
            assert!(wrong.parse::<PodRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_given_once_and_not_again_at_once() {
        let mut addresses = Addresses::new(range("10.1.0.0/29"));
        let first = addresses.allocate("a").unwrap();
        assert_eq!(first.to_string(), "10.1.0.2", "the first one is the node's");
        assert_eq!(
            addresses.allocate("a").unwrap(),
            first,
            "a pod keeps its own"
        );
        addresses.release("a");
        assert_ne!(addresses.allocate("b").unwrap(), first);
        for uid in ["c", "d", "e", "f"] {
            assert!(addresses.range.has(addresses.allocate(uid).unwrap()));
        }
        assert_eq!(addresses.owners.len(), 5);
        assert!(addresses.allocate("g").is_err());
        addresses.release("d");
        assert!(addresses.allocate("g").is_ok());
    }

    #[test]
    fn what_a_pod_had_is_kept_for_it_alone() {
        let mut addresses = Addresses::new(range("10.1.0.0/29"));
        let had = "10.1.0.2".parse().unwrap();
        assert!(addresses.reserve("a", had));
        assert!(!addresses.reserve("b", had));
        assert!(
            !addresses.reserve("b", "10.2.0.2".parse().unwrap()),
            "not of this node"
        );
        assert!(
            !addresses.reserve("b", "10.1.0.1".parse().unwrap()),
            "the node's own"
        );
        assert_ne!(addresses.allocate("b").unwrap(), had);
        assert_eq!(addresses.allocate("a").unwrap(), had);
    }
}
