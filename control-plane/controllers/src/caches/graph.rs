//! Who owns whom, over all kinds: what garbage collection decides from. Objects are known by uid; an uid that is gone never comes back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use coracle_api::names::ObjectKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::{action::key_of, kind::Kind};

/// The finalizer that keeps an object until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that keeps an object until its dependents are orphans.
pub const ORPHAN: &str = "orphan";

/// How many uids that are known to be gone are remembered. Forgetting one costs a question to the API server, no more.
const GONE_LIMIT: usize = 10_000;

/// An object as far as ownership goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// Its kind.
    pub kind: Arc<Kind>,
    /// Its name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// The resourceVersion it was seen at.
    pub seen: String,
    /// Whom it belongs to.
    pub owners: Vec<OwnerReference>,
    /// What keeps it.
    pub finalizers: Vec<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl Vertex {
    /// A vertex for an object.
    #[must_use]
    pub fn of(kind: &Arc<Kind>, meta: &ObjectMeta) -> Self {
        Self {
            kind: Arc::clone(kind),
            key: key_of(meta),
            uid: meta.uid.clone().unwrap_or_default(),
            seen: meta.resource_version.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }

    /// Whether it is kept by this finalizer.
    #[must_use]
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == name)
    }

    /// Whether it stays until its dependents are gone.
    #[must_use]
    pub fn waits_for_dependents(&self) -> bool {
        self.deleting && self.has_finalizer(FOREGROUND)
    }

    fn lets_dependents_go(&self) -> bool {
        self.deleting && self.has_finalizer(ORPHAN)
    }
}

/// All objects and their owners.
#[derive(Debug, Default)]
pub struct Graph {
    vertices: BTreeMap<String, Vertex>,
    by_key: BTreeMap<(Arc<Kind>, ObjectKey), String>,
    /// Dependents by the owner's uid, whether or not the owner is known.
    dependents: BTreeMap<String, BTreeSet<String>>,
    gone: BTreeSet<String>,
    gone_order: VecDeque<String>,
}

impl Graph {
    /// The object with this uid.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Vertex> {
        self.vertices.get(uid)
    }

    /// The objects that name this uid as an owner, by uid.
    pub fn dependents_of<'a>(&'a self, uid: &str) -> impl Iterator<Item = &'a Vertex> + use<'a> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| self.vertices.get(uid))
    }

    /// Whether the object with this uid is known to be gone.
    #[must_use]
    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// All uids.
    pub fn uids(&self) -> impl Iterator<Item = &String> {
        self.vertices.keys()
    }

    /// Learns that an uid is gone; gives the uids of those that have to be looked at.
    pub fn learn_gone(&mut self, uid: &str) -> Vec<String> {
        if self.gone.insert(uid.to_owned()) {
            self.gone_order.push_back(uid.to_owned());
            if self.gone_order.len() > GONE_LIMIT
                && let Some(oldest) = self.gone_order.pop_front()
            {
                self.gone.remove(&oldest);
            }
        }
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Adds or replaces an object; gives the uids of those for whose garbage collection that may matter.
    pub(super) fn insert(&mut self, kind: &Arc<Kind>, meta: &ObjectMeta) -> Vec<String> {
        let vertex = Vertex::of(kind, meta);
        let mut touched = Vec::new();
        let place = (Arc::clone(kind), vertex.key.clone());
        // An object of the same name with another uid: the former one's end was missed.
        if let Some(before) = self.by_key.get(&place)
            && *before != vertex.uid
        {
            let before = before.clone();
            touched.extend(self.remove(&before));
        }
        let old = self.vertices.get(&vertex.uid).cloned();
        if let Some(old) = &old {
            self.unlink(old);
        }
        for owner in &vertex.owners {
            let uids = self.dependents.entry(owner.uid.clone()).or_default();
            uids.insert(vertex.uid.clone());
        }
        let owners_changed = old.as_ref().is_none_or(|old| old.owners != vertex.owners);
        let owned = !vertex.owners.is_empty() && (owners_changed || vertex.deleting);
        if owned || vertex.waits_for_dependents() || vertex.lets_dependents_go() {
            touched.push(vertex.uid.clone());
        }
        let was_waiting = old.as_ref().is_some_and(Vertex::waits_for_dependents);
        if vertex.waits_for_dependents() && !was_waiting {
            touched.extend(self.dependents_of(&vertex.uid).map(|one| one.uid.clone()));
        }
        // Owners that wait for their dependents hear of every change of them.
        let former = old.iter().flat_map(|old| &old.owners);
        for owner in former.chain(&vertex.owners) {
            touched.extend(self.waiting(&owner.uid));
        }
        self.by_key.insert(place, vertex.uid.clone());
        self.vertices.insert(vertex.uid.clone(), vertex);
        touched
    }

    /// Takes an object away; gives the uids of those for whose garbage collection that may matter.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut touched = self.learn_gone(uid);
        let Some(vertex) = self.vertices.remove(uid) else {
            return touched;
        };
        self.unlink(&vertex);
        for owner in &vertex.owners {
            touched.extend(self.waiting(&owner.uid));
        }
        self.by_key.remove(&(vertex.kind, vertex.key));
        touched
    }

    /// The uid of the object of a kind at a key.
    #[must_use]
    pub fn uid_at(&self, kind: &Arc<Kind>, key: &ObjectKey) -> Option<&String> {
        self.by_key.get(&(Arc::clone(kind), key.clone()))
    }

    /// Whether a namespace has an object of a kind.
    #[must_use]
    pub fn has_any(&self, kind: &Kind, namespace: &str) -> bool {
        let first = (Arc::new(kind.clone()), ObjectKey::namespaced(namespace, ""));
        let next = self.by_key.range(first..).next();
        next.is_some_and(|((of, key), _)| {
            **of == *kind && key.namespace.as_deref() == Some(namespace)
        })
    }

    /// All objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = &'a Vertex> {
        self.vertices
            .values()
            .filter(move |vertex| *vertex.kind == *kind)
    }

    fn waiting(&self, uid: &str) -> Option<String> {
        let vertex = self.vertices.get(uid)?;
        (vertex.waits_for_dependents() || vertex.lets_dependents_go()).then(|| uid.to_owned())
    }

    fn unlink(&mut self, vertex: &Vertex) {
        for owner in &vertex.owners {
            if let Some(uids) = self.dependents.get_mut(&owner.uid) {
                uids.remove(&vertex.uid);
                if uids.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(name: &str, uid: &str, owners: &[&str], more: serde_json::Value) -> ObjectMeta {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "X", "name": "o", "uid": uid}))
            .collect();
        let mut meta =
            json!({"name": name, "namespace": "d", "uid": uid, "ownerReferences": owners});
        crate::merge::apply(&mut meta, &more);
        serde_json::from_value(meta).unwrap()
    }

    #[test]
    fn only_what_can_be_garbage_is_looked_at() {
        let kind = Arc::new(Kind::POD);
        let mut graph = Graph::default();
        assert!(
            graph
                .insert(&kind, &meta("a", "a", &[], json!({})))
                .is_empty()
        );
        assert_eq!(
            graph.insert(&kind, &meta("b", "b", &["a"], json!({}))),
            ["b"]
        );
        let relabelled = meta("b", "b", &["a"], json!({"labels": {"x": "y"}}));
        assert!(graph.insert(&kind, &relabelled).is_empty());
        let going =
            json!({"deletionTimestamp": "2020-01-01T00:00:00Z", "finalizers": [FOREGROUND]});
        assert_eq!(graph.insert(&kind, &meta("a", "a", &[], going)), ["a", "b"]);
        assert_eq!(graph.remove("b"), ["a"]);
        assert!(graph.is_gone("b"));
        graph.insert(&kind, &meta("c", "c", &["a"], json!({})));
        assert_eq!(graph.remove("a"), ["c"]);
        assert_eq!(graph.dependents_of("a").count(), 1);
    }

    #[test]
    fn another_object_of_the_same_name_means_the_former_is_gone() {
        let kind = Arc::new(Kind::POD);
        let mut graph = Graph::default();
        graph.insert(&kind, &meta("a", "1", &[], json!({})));
        graph.insert(&kind, &meta("b", "b", &["1"], json!({})));
        assert_eq!(graph.insert(&kind, &meta("a", "2", &[], json!({}))), ["b"]);
        assert!(graph.is_gone("1") && graph.get("1").is_none());
        let key = ObjectKey::namespaced("d", "a");
        assert_eq!(graph.uid_at(&kind, &key).map(String::as_str), Some("2"));
    }
}
