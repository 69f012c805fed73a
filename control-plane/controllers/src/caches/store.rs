//! The objects of one kind, found by key, by namespace, by controller and by tag. Holds what it is given; knows no kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coracle_api::{names::ObjectKey, pods::controller_ref};

use super::Cached;
use crate::action::key_of;

/// Objects of one kind. Everything is given in the order of keys.
#[derive(Debug)]
pub struct Store<T> {
    objects: BTreeMap<ObjectKey, Arc<T>>,
    /// Keys by the uid of the controller.
    controlled: BTreeMap<String, BTreeSet<ObjectKey>>,
    /// Keys of objects without a controller. Few in a healthy cluster.
    orphans: BTreeSet<ObjectKey>,
    tagged: BTreeMap<String, BTreeSet<ObjectKey>>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            controlled: BTreeMap::new(),
            orphans: BTreeSet::new(),
            tagged: BTreeMap::new(),
        }
    }
}

impl<T: Cached> Store<T> {
    /// The object at a key.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.objects.get(key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Those of a namespace.
    pub fn in_namespace<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        let first = ObjectKey::namespaced(namespace, "");
        let namespace = first.namespace.clone();
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// Those whose controller has this uid.
    pub fn controlled_by<'a>(&'a self, uid: &str) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        self.resolve(self.controlled.get(uid))
    }

    /// Those of a namespace that have no controller.
    pub fn orphans_in<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        let first = ObjectKey::namespaced(namespace, "");
        let namespace = first.namespace.clone();
        self.orphans
            .range(first..)
            .take_while(move |key| key.namespace == namespace)
            .filter_map(|key| self.objects.get(key))
    }

    /// Those with a tag (see [`Cached::tags`]).
    pub fn tagged<'a>(&'a self, tag: &str) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        self.resolve(self.tagged.get(tag))
    }

    /// How many have a tag.
    #[must_use]
    pub fn n_tagged(&self, tag: &str) -> usize {
        self.tagged.get(tag).map_or(0, BTreeSet::len)
    }

    fn resolve<'a>(
        &'a self,
        keys: Option<&'a BTreeSet<ObjectKey>>,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        keys.into_iter()
            .flatten()
            .filter_map(|key| self.objects.get(key))
    }

    /// The keys of all objects.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys()
    }

    /// Adds or replaces an object; gives what was there.
    pub(super) fn insert(&mut self, object: Arc<T>) -> Option<Arc<T>> {
        let key = key_of(object.metadata());
        let old = self.remove(&key);
        match controller_ref(object.metadata()) {
            Some(owner) => {
                let keys = self.controlled.entry(owner.uid.clone()).or_default();
                keys.insert(key.clone());
            }
            None => {
                self.orphans.insert(key.clone());
            }
        }
        for tag in object.tags() {
            self.tagged.entry(tag).or_default().insert(key.clone());
        }
        self.objects.insert(key, object);
        old
    }

    /// Takes an object away.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Arc<T>> {
        let old = self.objects.remove(key)?;
        match controller_ref(old.metadata()) {
            Some(owner) => forget(&mut self.controlled, &owner.uid, key),
            None => {
                self.orphans.remove(key);
            }
        }
        for tag in old.tags() {
            forget(&mut self.tagged, &tag, key);
        }
        Some(old)
    }
}

fn forget(index: &mut BTreeMap<String, BTreeSet<ObjectKey>>, entry: &str, key: &ObjectKey) {
    if let Some(keys) = index.get_mut(entry) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, name: &str, owner: Option<&str>, node: &str) -> Arc<Pod> {
        let owners = owner.map(|uid| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": uid, "controller": true}]));
        let pod = json!({"metadata": {"name": name, "namespace": namespace, "ownerReferences": owners}, "spec": {"nodeName": node, "containers": []}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn names<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<String> {
        pods.filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    #[test]
    fn objects_are_found_by_namespace_controller_and_tag() {
        let mut store = Store::default();
        for object in [
            pod("b", "x", None, "n1"),
            pod("a", "z", Some("u"), "n1"),
            pod("a", "y", None, ""),
            pod("aa", "w", Some("u"), "n2"),
        ] {
            store.insert(object);
        }
        assert_eq!(names(store.in_namespace("a")), ["y", "z"]);
        assert_eq!(names(store.controlled_by("u")), ["z", "w"]);
        assert_eq!(names(store.orphans_in("a")), ["y"]);
        assert_eq!(names(store.tagged("node/n1")), ["z", "x"]);
        let old = store.insert(pod("a", "z", None, "n2")).unwrap();
        assert_eq!(coracle_api::pods::node_name(&old), Some("n1"));
        assert_eq!(names(store.controlled_by("u")), ["w"]);
        assert_eq!(names(store.orphans_in("a")), ["y", "z"]);
        assert_eq!(names(store.tagged("node/n2")), ["z", "w"]);
        store.remove(&ObjectKey::namespaced("a", "z"));
        assert_eq!(names(store.in_namespace("a")), ["y"]);
        assert_eq!(store.n_tagged("node/n2"), 1);
        assert_eq!(store.len(), 3);
    }
}
