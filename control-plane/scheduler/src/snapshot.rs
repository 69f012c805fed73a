//! What the scheduler knows: nodes, the pods on them, and what those take and say. Kept up to date in place; a pod that was given a node and is not yet
//! known to be bound counts like one that is, and so does one that has been promised a node, for those of no higher priority.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use crate::{
    groups::{Definition, GroupId, Groups, Namespaces, Seat, Slot, Stance},
    request::{self, HostPort, Request, Spreading, Wishes},
    resources::{Common, Resources},
    topology::{Key, NOWHERE, Topology, Value},
};

/// A node and what is on it.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its object; nothing when pods name a node that there is none of.
    pub node: Option<Arc<Node>>,
    /// What pods can have.
    pub allocatable: Resources,
    /// What its pods take.
    pub requested: Resources,
    /// What they count as taking when nodes are scored.
    pub weighed: Common,
    /// Its pods by uid.
    pub pods: BTreeMap<String, Arc<Request>>,
    /// Pods that have been promised a place, by uid.
    pub(crate) nominated: BTreeMap<String, Arc<Request>>,
    /// Whether it takes no new pods.
    pub(crate) is_cordoned: bool,
    /// Taints that keep pods away.
    pub(crate) repelling: Vec<Taint>,
    /// Taints that pods would rather avoid.
    pub(crate) disliked: Vec<Taint>,
    /// Its ports that are taken, and how often.
    pub(crate) ports: BTreeMap<HostPort, usize>,
    /// The images it has, and their sizes.
    pub(crate) images: HashMap<String, i64>,
    /// Where it is, by key.
    pub(crate) topology: Vec<Value>,
}

impl NodeState {
    /// Where the node is.
    #[must_use]
    pub fn at(&self, key: Key) -> Value {
        self.topology.get(key).copied().unwrap_or(NOWHERE)
    }
}

/// Nodes and pods.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    slots: Vec<NodeState>,
    by_name: HashMap<String, Slot>,
    free: Vec<Slot>,
    n_nodes: usize,
    /// Where each pod is, by uid.
    places: HashMap<String, Slot>,
    /// Where each pod has been promised a place, by uid.
    promises: HashMap<String, Slot>,
    /// How many pods on nodes have each priority.
    priorities: BTreeMap<i32, usize>,
    /// How many nodes have each image.
    images: HashMap<String, usize>,
    groups: Groups,
    topology: Topology,
    namespaces: Namespaces,
}

impl Snapshot {
    /// The nodes that there are.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &NodeState)> {
        let known = self.slots.iter().filter(|state| state.node.is_some());
        known.map(|state| (state.name.as_str(), state))
    }

    /// How many nodes there are.
    #[must_use]
    pub fn n_nodes(&self) -> usize {
        self.n_nodes
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.slots.get(*self.by_name.get(name)?)
    }

    /// The node a pod is on.
    #[must_use]
    pub fn place_of(&self, uid: &str) -> Option<&str> {
        let state = self.slots.get(*self.places.get(uid)?)?;
        Some(&state.name)
    }

    /// What a pod that is on a node asks for, and the node.
    #[must_use]
    pub fn placed(&self, uid: &str) -> Option<(&str, &Arc<Request>)> {
        let state = self.slots.get(*self.places.get(uid)?)?;
        Some((&state.name, state.pods.get(uid)?))
    }

    /// The node on which a pod has been promised a place.
    #[must_use]
    pub fn promised(&self, uid: &str) -> Option<&str> {
        let state = self.slots.get(*self.promises.get(uid)?)?;
        Some(&state.name)
    }

    /// Whether any pod on a node has a lower priority than this.
    #[must_use]
    pub fn has_lower(&self, priority: i32) -> bool {
        let lowest = self.priorities.keys().next();
        lowest.is_some_and(|lowest| *lowest < priority)
    }

    pub(crate) fn slots(&self) -> &[NodeState] {
        &self.slots
    }

    pub(crate) fn slot_of(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// How many nodes have an image.
    pub(crate) fn n_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// A node is there or has changed. Says whether that matters to pods: signs of life do not.
    pub fn put_node(&mut self, node: Arc<Node>) -> bool {
        let Some(name) = node.metadata.name.clone() else {
            return false;
        };
        let slot = self.slot(&name);
        let Some(state) = self.slots.get_mut(slot) else {
            return false;
        };
        let before = (
            state.allocatable.clone(),
            state.is_cordoned,
            state.repelling.clone(),
        );
        let labels = |node: &Node| node.metadata.labels.clone().unwrap_or_default();
        let has_moved = state
            .node
            .as_ref()
            .is_none_or(|old| labels(old) != labels(&node));
        let status = node.status.as_ref();
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        let capacity = status.and_then(|status| status.capacity.as_ref());
        let of_map = allocatable.or(capacity).map(Resources::of_map);
        state.allocatable = of_map.unwrap_or_default();
        let spec = node.spec.as_ref();
        state.is_cordoned = spec.is_some_and(|spec| spec.unschedulable == Some(true));
        let taints = || {
            spec.and_then(|spec| spec.taints.as_ref())
                .into_iter()
                .flatten()
        };
        let of = |effects: &[&str]| -> Vec<Taint> {
            let taints = taints().filter(|taint| effects.contains(&taint.effect.as_str()));
            taints.cloned().collect()
        };
        state.repelling = of(&["NoSchedule", "NoExecute"]);
        state.disliked = of(&["PreferNoSchedule"]);
        let images = status
            .and_then(|status| status.images.as_ref())
            .into_iter()
            .flatten();
        let images: HashMap<String, i64> = images
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image
                    .names
                    .iter()
                    .flatten()
                    .map(move |name| (name.clone(), size))
            })
            .collect();
        let gone = std::mem::replace(&mut state.images, images);
        if state.node.is_none() {
            self.n_nodes += 1;
        }
        state.node = Some(Arc::clone(&node));
        for image in gone.keys() {
            if let Some(n) = self.images.get_mut(image) {
                *n = n.saturating_sub(1);
            }
        }
        for image in state.images.keys() {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        if gone.len() > state.images.len() {
            self.images.retain(|_, n| *n > 0);
        }
        let after = (
            state.allocatable.clone(),
            state.is_cordoned,
            state.repelling.clone(),
        );
        if has_moved {
            self.move_node(slot, Some(&labels(&node)));
        }
        has_moved || before != after
    }

    /// A node is gone. Its pods stay known: it may come back while they last.
    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.slot_of(name) else {
            return;
        };
        self.move_node(slot, None);
        let Some(state) = self.slots.get_mut(slot) else {
            return;
        };
        if state.node.take().is_some() {
            self.n_nodes -= 1;
        }
        for image in std::mem::take(&mut state.images).into_keys() {
            if let Some(n) = self.images.get_mut(&image) {
                *n = n.saturating_sub(1);
            }
        }
        for uid in std::mem::take(&mut state.nominated).into_keys() {
            self.promises.remove(&uid);
        }
        self.release(slot);
    }

    /// The slot of a node, known or not.
    fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let state = NodeState {
            name: name.to_owned(),
            topology: vec![NOWHERE; self.topology.n_keys()],
            ..NodeState::default()
        };
        let slot = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(slot) {
            Some(free) => *free = state,
            None => self.slots.push(state),
        }
        self.by_name.insert(name.to_owned(), slot);
        slot
    }

    /// Frees a slot that nothing is known of.
    fn release(&mut self, slot: Slot) {
        if let Some(state) = self.slots.get_mut(slot)
            && state.node.is_none()
            && state.pods.is_empty()
            && state.nominated.is_empty()
        {
            let name = std::mem::take(&mut state.name);
            self.by_name.remove(&name);
            self.free.push(slot);
        }
    }

    /// A node is elsewhere from now on, and its pods with it.
    fn move_node(&mut self, slot: Slot, labels: Option<&BTreeMap<String, String>>) {
        let Some(state) = self.slots.get_mut(slot) else {
            return;
        };
        for request in state.pods.values() {
            self.groups
                .leave(&seat(request, slot, &state.topology), &self.namespaces);
        }
        self.topology.leave(&state.topology);
        state.topology = match labels {
            Some(labels) => self.topology.enter(labels),
            None => vec![NOWHERE; self.topology.n_keys()],
        };
        for request in state.pods.values() {
            self.groups
                .enter(&seat(request, slot, &state.topology), &self.namespaces);
        }
    }

    /// A namespace has these labels, or is gone. Says whether that is news.
    pub fn put_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) -> bool {
        if self.namespaces.get(name) == labels.as_ref() {
            return false;
        }
        // Pods are in groups by their namespaces' labels: those of this one leave as what it was and enter as what it is.
        let in_it = |request: &Request| request.pod.metadata.namespace.as_deref() == Some(name);
        for (slot, state) in self.slots.iter().enumerate() {
            for request in state.pods.values().filter(|one| in_it(one)) {
                self.groups
                    .leave(&seat(request, slot, &state.topology), &self.namespaces);
            }
        }
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
        for (slot, state) in self.slots.iter().enumerate() {
            for request in state.pods.values().filter(|one| in_it(one)) {
                self.groups
                    .enter(&seat(request, slot, &state.topology), &self.namespaces);
            }
        }
        true
    }

    /// A pod is on a node. One that was elsewhere before moves. Gives what it asks for.
    pub fn put_pod(&mut self, node: &str, pod: Arc<Pod>) -> Arc<Request> {
        let wishes = Wishes::of(&pod);
        let stances = self.stances(wishes.stances);
        let request = Request {
            stances,
            ..plain(pod)
        };
        let request = Arc::new(request);
        self.place(node, Arc::clone(&request));
        request
    }

    /// A pod has been given to a node. One that was elsewhere before moves.
    pub fn place(&mut self, node: &str, request: Arc<Request>) {
        if request.uid.is_empty() {
            return;
        }
        self.remove_pod(&request.uid);
        self.withdraw(&request.uid);
        let slot = self.slot(node);
        let Some(state) = self.slots.get_mut(slot) else {
            return;
        };
        *self.priorities.entry(request.priority).or_default() += 1;
        state.requested.add(&request.resources);
        state.weighed.add(&request.weighed);
        for port in &request.ports {
            *state.ports.entry(port.clone()).or_default() += 1;
        }
        self.groups
            .enter(&seat(&request, slot, &state.topology), &self.namespaces);
        self.places.insert(request.uid.clone(), slot);
        state.pods.insert(request.uid.clone(), request);
    }

    /// A pod takes nothing any more. Gives what it was.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<Request>> {
        let slot = self.places.remove(uid)?;
        let state = self.slots.get_mut(slot)?;
        let request = state.pods.remove(uid)?;
        if let Some(n) = self.priorities.get_mut(&request.priority) {
            *n -= 1;
            if *n == 0 {
                self.priorities.remove(&request.priority);
            }
        }
        state.requested.subtract(&request.resources);
        state.weighed.subtract(&request.weighed);
        for port in &request.ports {
            if let Some(n) = state.ports.get_mut(port) {
                *n -= 1;
                if *n == 0 {
                    state.ports.remove(port);
                }
            }
        }
        self.groups
            .leave(&seat(&request, slot, &state.topology), &self.namespaces);
        self.release(slot);
        Some(request)
    }

    /// A pod has been promised a place on a node, which others of no higher priority do not get.
    pub fn promise(&mut self, node: &str, request: Arc<Request>) {
        self.withdraw(&request.uid);
        let slot = self.slot(node);
        if let Some(state) = self.slots.get_mut(slot) {
            self.promises.insert(request.uid.clone(), slot);
            state.nominated.insert(request.uid.clone(), request);
        }
    }

    /// A pod no longer has a promise.
    pub fn withdraw(&mut self, uid: &str) {
        if let Some(slot) = self.promises.remove(uid)
            && let Some(state) = self.slots.get_mut(slot)
        {
            state.nominated.remove(uid);
            self.release(slot);
        }
    }

    /// Reads what a pod asks for, and sees to it that what a decision about it needs is counted.
    pub fn prepare(&mut self, pod: Arc<Pod>) -> Request {
        let wishes = Wishes::of(&pod);
        let near = wishes.near.map(|(definition, names)| {
            let is_near_itself = definition.contains(&pod, &self.namespaces);
            let id = self.counted(definition);
            let keys = names.iter().map(|name| self.counted_by(id, name));
            ((id, keys.collect()), is_near_itself)
        });
        let far = wishes.far.into_iter().map(|(definition, name)| {
            let id = self.counted(definition);
            (id, self.counted_by(id, &name))
        });
        let far = far.collect();
        let likes = wishes.likes.into_iter().map(|(definition, name, weight)| {
            let id = self.counted(definition);
            (id, self.counted_by(id, &name), weight)
        });
        let likes = likes.collect();
        let spreading =
            wishes
                .spreading
                .into_iter()
                .map(|(definition, constraint, is_explicit)| {
                    let counts_itself = definition.contains(&pod, &self.namespaces);
                    let group = self.counted(definition);
                    let honors = |policy: &Option<String>, default: &str| {
                        policy.as_deref().unwrap_or(default) == "Honor"
                    };
                    Spreading {
                        key: self.counted_by(group, &constraint.topology_key),
                        group,
                        max_skew: constraint.max_skew,
                        is_hard: constraint.when_unsatisfiable != "ScheduleAnyway",
                        min_domains: constraint
                            .min_domains
                            .and_then(|n| usize::try_from(n).ok())
                            .unwrap_or(1),
                        honors_affinity: honors(&constraint.node_affinity_policy, "Honor"),
                        honors_taints: honors(&constraint.node_taints_policy, "Ignore"),
                        counts_itself,
                        is_explicit,
                    }
                });
        let spreading = spreading.collect();
        let stances = self.stances(wishes.stances);
        let (near, is_near_itself) =
            near.map_or((None, false), |(near, itself)| (Some(near), itself));
        Request {
            near,
            is_near_itself,
            far,
            likes,
            spreading,
            stances,
            ..plain(pod)
        }
    }

    fn stances(
        &mut self,
        wishes: Vec<(Definition, String, Stance)>,
    ) -> Vec<(GroupId, Key, Stance)> {
        let stances = wishes.into_iter().map(|(definition, name, stance)| {
            let id = self.group(definition);
            (id, self.key(&name), stance)
        });
        stances.collect()
    }

    fn group(&mut self, definition: Definition) -> GroupId {
        let known = self.groups.find(&definition);
        known.unwrap_or_else(|| self.groups.add(definition))
    }

    /// A group whose pods are counted from now on, if they have not been.
    fn counted(&mut self, definition: Definition) -> GroupId {
        let id = self.group(definition);
        if self.groups.begin(id) {
            for (slot, state) in self.slots.iter().enumerate() {
                for request in state.pods.values() {
                    self.groups
                        .count_into(id, &request.pod, slot, &self.namespaces);
                }
            }
        }
        id
    }

    fn key(&mut self, name: &str) -> Key {
        let (key, is_new) = self.topology.key(name);
        if is_new {
            for state in &mut self.slots {
                let labels = state
                    .node
                    .as_ref()
                    .and_then(|node| node.metadata.labels.as_ref());
                let value = match labels {
                    Some(labels) => self.topology.enter_one(key, labels),
                    None => NOWHERE,
                };
                state.topology.push(value);
            }
        }
        key
    }

    fn counted_by(&mut self, id: GroupId, name: &str) -> Key {
        let key = self.key(name);
        let slots = &self.slots;
        let at = |slot: Slot| slots.get(slot).map_or(NOWHERE, |state| state.at(key));
        self.groups.count_by(id, key, at);
        key
    }
}

fn seat<'a>(request: &'a Request, slot: Slot, topology: &'a [Value]) -> Seat<'a> {
    Seat {
        pod: &request.pod,
        slot,
        topology,
        stances: &request.stances,
    }
}

/// What a pod asks for, groups apart.
fn plain(pod: Arc<Pod>) -> Request {
    Request {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        priority: request::priority(&pod),
        resources: Resources::requested(&pod),
        weighed: Resources::weighed(&pod),
        ports: request::host_ports(&pod),
        nodes: coracle_api::affinity::named(&pod),
        selects_nodes: coracle_api::affinity::selects(&pod),
        near: None,
        is_near_itself: false,
        far: Vec::new(),
        likes: Vec::new(),
        spreading: Vec::new(),
        stances: Vec::new(),
        pod,
    }
}
