//! What the scheduler knows: nodes, the pods on them, and what those take. Kept up to date in place; a pod that was given a node and is not yet known to be
//! bound counts like one that is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::resources::Resources;

/// A node and what is on it.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// Its object; nothing when pods name a node that there is none of.
    pub node: Option<Arc<Node>>,
    /// What pods can have.
    pub allocatable: Resources,
    /// What its pods take.
    pub requested: Resources,
    /// Its pods by uid.
    pub pods: BTreeMap<String, Arc<Pod>>,
}

/// Nodes and pods.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<String, NodeState>,
    /// Where each pod is, by uid.
    places: HashMap<String, String>,
}

impl Snapshot {
    /// The nodes that there are, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &NodeState)> {
        let known = self.nodes.iter().filter(|(_, state)| state.node.is_some());
        known.map(|(name, state)| (name.as_str(), state))
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.get(name)
    }

    /// A node is there or has changed.
    pub fn put_node(&mut self, node: Arc<Node>) {
        let Some(name) = node.metadata.name.clone() else {
            return;
        };
        let status = node.status.as_ref();
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        let capacity = status.and_then(|status| status.capacity.as_ref());
        let state = self.nodes.entry(name).or_default();
        state.allocatable = allocatable
            .or(capacity)
            .map(Resources::of_map)
            .unwrap_or_default();
        state.node = Some(node);
    }

    /// A node is gone. Its pods stay known: it may come back while they last.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(state) = self.nodes.get_mut(name) {
            state.node = None;
            if state.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// A pod is on a node, or has been given to it. One that was elsewhere before moves.
    pub fn put_pod(&mut self, node: &str, pod: Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else {
            return;
        };
        self.remove_pod(&uid);
        let state = self.nodes.entry(node.to_owned()).or_default();
        state.requested.add(&Resources::requested(&pod));
        state.pods.insert(uid.clone(), pod);
        self.places.insert(uid, node.to_owned());
    }

    /// A pod takes nothing any more. Says whether it did.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(place) = self.places.remove(uid) else {
            return false;
        };
        let Some(state) = self.nodes.get_mut(&place) else {
            return false;
        };
        if let Some(pod) = state.pods.remove(uid) {
            state.requested.subtract(&Resources::requested(&pod));
        }
        if state.node.is_none() && state.pods.is_empty() {
            self.nodes.remove(&place);
        }
        true
    }
}
