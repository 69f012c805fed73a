//! Groups of pods, as terms of affinity and spreading select them, and how many pods of each are where. Kept up to date with every pod that comes and goes,
//! so that a decision reads counts and never looks at all pods. A pod finds the groups it is in by its labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use coracle_api::{
    pods,
    selector::{LabelSelector, Operator, Requirement},
};
use k8s_openapi::api::core::v1::Pod;

use crate::topology::{ByNumber, Counts, Key, NOWHERE, Value};

/// A node's place in the snapshot.
pub type Slot = usize;
/// A group's number.
pub type GroupId = usize;

/// So many groups that no pod on a node is concerned with are kept; they are counted anew when they are asked for again.
const IDLE_LIMIT: usize = 1024;

/// Labels of namespaces, by name.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// What pods are in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// In these namespaces,
    pub namespaces: BTreeSet<String>,
    /// or in those with such labels;
    pub of_namespaces: Option<LabelSelector>,
    /// with such labels. Nothing selects nothing.
    pub labels: Option<LabelSelector>,
}

/// Which pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that all terms select.
    Selected(Vec<Term>),
    /// Those with this controller.
    OwnedBy(String),
}

/// What pods on nodes say about the pods of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stance {
    /// They must not come near.
    Repels,
    /// They should come near, or not: the weight.
    Likes(i32),
}

/// What makes a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Which pods.
    pub which: Which,
    /// Whether pods that are being deleted do not count: so for spreading, not for affinity.
    pub only_staying: bool,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    definition: Definition,
    /// How many of its pods are on each node.
    on_node: ByNumber<Slot, u32>,
    /// How many of its pods are at each value of the keys that were asked for.
    counts: BTreeMap<Key, Counts>,
    /// How many pods with a stance towards it are at each value.
    stances: BTreeMap<(Key, Stance), Counts>,
    /// How many stances pods on nodes have towards it.
    n_stances: usize,
    /// Whether its pods are counted. Nobody asks for the pods of a group that others only have a stance towards.
    is_counted: bool,
    used: u64,
}

/// All groups.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    all: BTreeMap<GroupId, Group>,
    next: GroupId,
    ids: HashMap<String, GroupId>,
    /// Groups that need a label, by namespace, label and value; so that a pod finds its own.
    by_label: HashMap<(String, String, String), Vec<GroupId>>,
    by_owner: HashMap<String, Vec<GroupId>>,
    /// Groups that are not found so.
    others: BTreeSet<GroupId>,
    clock: u64,
}

/// A pod on a node, as groups see it.
pub struct Seat<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The node.
    pub slot: Slot,
    /// Where that is.
    pub topology: &'a [Value],
    /// What the pod says about groups.
    pub stances: &'a [(GroupId, Key, Stance)],
}

impl Term {
    /// Whether a pod is selected.
    #[must_use]
    pub fn selects(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let in_namespace = self.namespaces.contains(namespace)
            || self.of_namespaces.as_ref().is_some_and(|selector| {
                let labels = namespaces.get(namespace);
                selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
            });
        let labels = meta.labels.as_ref();
        in_namespace
            && self.labels.as_ref().is_some_and(|selector| {
                selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
            })
    }
}

impl Definition {
    /// Whether a pod is one of the group.
    #[must_use]
    pub fn contains(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        match &self.which {
            Which::Selected(terms) => terms.iter().all(|term| term.selects(pod, namespaces)),
            Which::OwnedBy(uid) => pods::is_controlled_by(&pod.metadata, uid),
        }
    }

    fn counts(&self, pod: &Pod) -> bool {
        !self.only_staying || pod.metadata.deletion_timestamp.is_none()
    }

    /// A label that all pods of the group must have, and the namespaces they are in.
    fn handle(&self) -> Option<(&BTreeSet<String>, &Requirement)> {
        let Which::Selected(terms) = &self.which else {
            return None;
        };
        terms.iter().find_map(|term| {
            let of = term.labels.as_ref()?.requirements();
            let of = of
                .iter()
                .find(|one| one.operator == Operator::In && one.values.len() == 1)?;
            term.of_namespaces
                .is_none()
                .then_some((&term.namespaces, of))
        })
    }
}

impl Group {
    /// How many of its pods are at each value of a key.
    #[must_use]
    pub fn counts(&self, key: Key) -> Option<&Counts> {
        self.counts.get(&key)
    }

    /// How many of its pods are on a node.
    #[must_use]
    pub fn on_node(&self, slot: Slot) -> u32 {
        self.on_node.get(&slot).copied().unwrap_or(0)
    }

    /// What pods say about it, and where they are.
    pub fn stances(&self) -> impl Iterator<Item = (Key, Stance, &Counts)> {
        let stances = self.stances.iter();
        stances.map(|((key, stance), counts)| (*key, *stance, counts))
    }

    /// Whether a pod is one of it.
    #[must_use]
    pub fn contains(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        self.definition.contains(pod, namespaces)
    }
}

impl Groups {
    /// A group.
    #[must_use]
    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.all.get(&id)
    }

    /// The group of a definition, if it is known.
    pub fn find(&mut self, definition: &Definition) -> Option<GroupId> {
        self.clock += 1;
        let id = *self.ids.get(&format!("{definition:?}"))?;
        if let Some(group) = self.all.get_mut(&id) {
            group.used = self.clock;
        }
        Some(id)
    }

    /// Adds a group that is not known.
    pub fn add(&mut self, definition: Definition) -> GroupId {
        if self.all.len() >= 2 * IDLE_LIMIT {
            self.sweep();
        }
        let id = self.next;
        self.next += 1;
        self.ids.insert(format!("{definition:?}"), id);
        self.in_places(&definition, |list| list.push(id));
        if self.is_other(&definition) {
            self.others.insert(id);
        }
        let group = Group {
            definition,
            on_node: ByNumber::default(),
            counts: BTreeMap::new(),
            stances: BTreeMap::new(),
            n_stances: 0,
            is_counted: false,
            used: self.clock,
        };
        self.all.insert(id, group);
        id
    }

    fn is_other(&self, definition: &Definition) -> bool {
        definition.handle().is_none() && !matches!(definition.which, Which::OwnedBy(_))
    }

    /// Does something with each list in which a group is found.
    fn in_places(&mut self, definition: &Definition, mut does: impl FnMut(&mut Vec<GroupId>)) {
        if let Which::OwnedBy(uid) = &definition.which {
            does(self.by_owner.entry(uid.clone()).or_default());
        } else if let Some((namespaces, of)) = definition.handle() {
            let value = of.values.first().cloned().unwrap_or_default();
            for namespace in namespaces {
                let place = (namespace.clone(), of.key.clone(), value.clone());
                does(self.by_label.entry(place).or_default());
            }
        }
    }

    /// Forgets groups that nobody has asked for in a long time and no pod on a node is concerned with.
    fn sweep(&mut self) {
        let mut idle: Vec<(u64, GroupId)> = self
            .all
            .iter()
            .filter(|(_, group)| group.n_stances == 0)
            .map(|(id, group)| (group.used, *id))
            .collect();
        idle.sort_unstable();
        let surplus = idle.len().saturating_sub(IDLE_LIMIT);
        for (_, id) in idle.into_iter().take(surplus) {
            let Some(group) = self.all.remove(&id) else {
                continue;
            };
            self.ids.remove(&format!("{:?}", group.definition));
            self.in_places(&group.definition, |list| list.retain(|one| *one != id));
            self.others.remove(&id);
        }
        self.by_label.retain(|_, list| !list.is_empty());
        self.by_owner.retain(|_, list| !list.is_empty());
    }

    /// The groups that a pod is in.
    #[must_use]
    pub fn of(&self, pod: &Pod, namespaces: &Namespaces) -> Vec<GroupId> {
        let meta = &pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let mut found: Vec<GroupId> = self.others.iter().copied().collect();
        if !self.by_label.is_empty() {
            for (key, value) in meta.labels.iter().flatten() {
                let place = (namespace.clone(), key.clone(), value.clone());
                found.extend(self.by_label.get(&place).into_iter().flatten());
            }
        }
        found.retain(|id| {
            let group = self.all.get(id);
            group.is_some_and(|group| group.contains(pod, namespaces))
        });
        let owner = pods::controller_ref(meta).and_then(|owner| self.by_owner.get(&owner.uid));
        found.extend(owner.into_iter().flatten());
        found
    }

    /// Begins to count the pods of a group; says whether that is new. Those that are there have to be counted into it.
    pub fn begin(&mut self, id: GroupId) -> bool {
        let group = self.all.get_mut(&id);
        group.is_some_and(|group| !std::mem::replace(&mut group.is_counted, true))
    }

    /// Counts a pod of the group that was there before its pods were counted.
    pub fn count_into(&mut self, id: GroupId, pod: &Pod, slot: Slot, namespaces: &Namespaces) {
        if let Some(group) = self.all.get_mut(&id)
            && group.contains(pod, namespaces)
            && group.definition.counts(pod)
        {
            *group.on_node.entry(slot).or_default() += 1;
        }
    }

    /// Sees to it that the pods of a group are counted by a key. `at` gives the value of a node.
    pub fn count_by(&mut self, id: GroupId, key: Key, at: impl Fn(Slot) -> Value) {
        let Some(group) = self.all.get_mut(&id) else {
            return;
        };
        if group.counts.contains_key(&key) {
            return;
        }
        let mut counts = Counts::default();
        for (slot, n) in &group.on_node {
            counts.add(at(*slot), *n);
        }
        group.counts.insert(key, counts);
    }

    /// A pod is on a node from now on.
    pub fn enter(&mut self, seat: &Seat<'_>, namespaces: &Namespaces) {
        self.change(seat, namespaces, true);
    }

    /// A pod is no longer on a node.
    pub fn leave(&mut self, seat: &Seat<'_>, namespaces: &Namespaces) {
        self.change(seat, namespaces, false);
    }

    fn change(&mut self, seat: &Seat<'_>, namespaces: &Namespaces, enters: bool) {
        let at = |key: Key| seat.topology.get(key).copied().unwrap_or(NOWHERE);
        for id in self.of(seat.pod, namespaces) {
            let Some(group) = self.all.get_mut(&id) else {
                continue;
            };
            if !group.is_counted || !group.definition.counts(seat.pod) {
                continue;
            }
            let on_node = group.on_node.entry(seat.slot).or_default();
            *on_node = if enters {
                *on_node + 1
            } else {
                on_node.saturating_sub(1)
            };
            if *on_node == 0 {
                group.on_node.remove(&seat.slot);
            }
            for (key, counts) in &mut group.counts {
                move_one(counts, at(*key), enters);
            }
        }
        for (id, key, stance) in seat.stances {
            let Some(group) = self.all.get_mut(id) else {
                continue;
            };
            let counts = group.stances.entry((*key, *stance)).or_default();
            move_one(counts, at(*key), enters);
            let is_empty = counts.is_empty();
            if is_empty && !enters {
                group.stances.remove(&(*key, *stance));
            }
            group.n_stances = if enters {
                group.n_stances + 1
            } else {
                group.n_stances.saturating_sub(1)
            };
        }
    }
}

fn move_one(counts: &mut Counts, value: Value, enters: bool) {
    if enters {
        counts.add(value, 1);
    } else {
        counts.remove(value, 1);
    }
}
