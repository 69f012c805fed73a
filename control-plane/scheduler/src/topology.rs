//! Labels of nodes as places: the values that nodes have of a topology key, as small numbers, and counts by value.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

/// A topology key that somebody has named.
pub type Key = usize;
/// A value of a topology key; [`NOWHERE`] where a node has none.
pub type Value = u32;

/// What a node without the label is at.
pub const NOWHERE: Value = Value::MAX;
/// The label with a node's name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// The label with a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Small numbers are hashed by one multiplication: counts are looked up for every node at every decision, and nobody outside chooses the numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        // Odd, and its bits are spread; the table takes the high ones.
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

/// A map by small numbers.
pub type ByNumber<K, V> = HashMap<K, V, BuildHasherDefault<Multiply>>;

/// All keys and values that were named.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    keys: Vec<Places>,
    by_name: HashMap<String, Key>,
}

#[derive(Clone, Debug, Default)]
struct Places {
    name: String,
    values: HashMap<String, Value>,
    /// How many nodes have each value.
    nodes: Vec<u32>,
    n_domains: usize,
    n_nodes: usize,
}

impl Topology {
    /// The key of a name. Says whether it is new: then nodes have to be told where they are.
    pub fn key(&mut self, name: &str) -> (Key, bool) {
        if let Some(key) = self.by_name.get(name) {
            return (*key, false);
        }
        let key = self.keys.len();
        self.by_name.insert(name.to_owned(), key);
        self.keys.push(Places {
            name: name.to_owned(),
            ..Places::default()
        });
        (key, true)
    }

    /// The key of a name, if anybody has named it.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Key> {
        self.by_name.get(name).copied()
    }

    /// How many keys there are.
    #[must_use]
    pub fn n_keys(&self) -> usize {
        self.keys.len()
    }

    /// Where a node with these labels is, by key. It counts as being there from now on.
    pub fn enter(&mut self, labels: &BTreeMap<String, String>) -> Vec<Value> {
        let n_keys = self.keys.len();
        (0..n_keys).map(|key| self.enter_one(key, labels)).collect()
    }

    /// Where a node with these labels is by one key. It counts as being there from now on.
    pub fn enter_one(&mut self, key: Key, labels: &BTreeMap<String, String>) -> Value {
        let Some(places) = self.keys.get_mut(key) else {
            return NOWHERE;
        };
        let Some(label) = labels.get(&places.name) else {
            return NOWHERE;
        };
        let value = match places.values.get(label) {
            Some(value) => *value,
            None => {
                let value = Value::try_from(places.nodes.len()).unwrap_or(NOWHERE);
                places.values.insert(label.clone(), value);
                places.nodes.push(0);
                value
            }
        };
        if let Some(n) = places.nodes.get_mut(at(value)) {
            places.n_domains += usize::from(*n == 0);
            places.n_nodes += 1;
            *n += 1;
        }
        value
    }

    /// A node is no longer where it was.
    pub fn leave(&mut self, values: &[Value]) {
        for (places, value) in self.keys.iter_mut().zip(values) {
            if let Some(n) = places.nodes.get_mut(at(*value)) {
                *n = n.saturating_sub(1);
                places.n_nodes = places.n_nodes.saturating_sub(1);
                places.n_domains -= usize::from(*n == 0).min(places.n_domains);
            }
        }
    }

    /// How many values nodes have of a key.
    #[must_use]
    pub fn n_domains(&self, key: Key) -> usize {
        self.keys.get(key).map_or(0, |places| places.n_domains)
    }

    /// How many nodes have the label.
    #[must_use]
    pub fn n_nodes(&self, key: Key) -> usize {
        self.keys.get(key).map_or(0, |places| places.n_nodes)
    }
}

fn at(value: Value) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// How many pods are at each value of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    by_value: ByNumber<Value, u32>,
    /// How many values have each count, so that the least is found at once.
    levels: BTreeMap<u32, usize>,
}

impl Counts {
    /// So many more.
    pub fn add(&mut self, value: Value, more: u32) {
        if value != NOWHERE && more > 0 {
            let old = self.get(value);
            self.set(value, old, old.saturating_add(more));
        }
    }

    /// So many fewer.
    pub fn remove(&mut self, value: Value, fewer: u32) {
        if value != NOWHERE && fewer > 0 {
            let old = self.get(value);
            self.set(value, old, old.saturating_sub(fewer));
        }
    }

    fn set(&mut self, value: Value, old: u32, new: u32) {
        if let Some(n) = self.levels.get_mut(&old) {
            *n -= 1;
            if *n == 0 {
                self.levels.remove(&old);
            }
        }
        if new == 0 {
            self.by_value.remove(&value);
        } else {
            *self.levels.entry(new).or_default() += 1;
            self.by_value.insert(value, new);
        }
    }

    /// How many are there.
    #[must_use]
    pub fn get(&self, value: Value) -> u32 {
        self.by_value.get(&value).copied().unwrap_or(0)
    }

    /// Whether there are none anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_value.is_empty()
    }

    /// The fewest at any of `n_domains` values.
    #[must_use]
    pub fn least(&self, n_domains: usize) -> u32 {
        if self.by_value.len() < n_domains {
            return 0;
        }
        self.levels.keys().next().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_count_is_known_at_once() {
        let mut counts = Counts::default();
        counts.add(1, 3);
        counts.add(2, 1);
        assert_eq!((counts.least(2), counts.least(3)), (1, 0));
        counts.add(2, 4);
        assert_eq!(counts.least(2), 3);
        counts.remove(1, 3);
        assert_eq!((counts.get(1), counts.least(1), counts.least(2)), (0, 5, 0));
        counts.add(NOWHERE, 1);
        counts.remove(2, 9);
        assert!(counts.is_empty());
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn nodes_come_and_go() {
        let mut topology = Topology::default();
        let (zone, _) = topology.key("zone");
        let at = |value: &str| BTreeMap::from([("zone".to_owned(), value.to_owned())]);
        let a = topology.enter(&at("a"));
        let also = topology.enter(&at("a"));
        topology.enter(&at("b"));
        assert_eq!(topology.enter(&BTreeMap::new()), [NOWHERE]);
        assert_eq!(a, also);
        assert_eq!((topology.n_domains(zone), topology.n_nodes(zone)), (2, 3));
        topology.leave(&a);
        assert_eq!(topology.n_domains(zone), 2);
        topology.leave(&a);
        assert_eq!((topology.n_domains(zone), topology.n_nodes(zone)), (1, 1));
    }
}
