//! How objects of one kind get into the caches and out of them: whole, for the kinds that planners look into, or only their metadata. Reads JSON; asks
//! nobody for it.

use std::sync::Arc;

use coracle_api::names::ObjectKey;
use coracle_controllers::{
    action::key_of,
    caches::{Applied, Cached, Caches},
    kind::Kind,
};
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::Job,
        coordination::v1::Lease,
        core::v1::{Namespace, Node, PersistentVolumeClaim, Pod, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, de::DeserializeOwned};

/// Puts an object into the caches.
type Insert = Box<dyn FnOnce(&mut Caches, &Arc<Kind>) -> Applied + Send>;

/// An object that was read, ready to be cached.
pub struct Item {
    /// What identifies it.
    pub place: Place,
    /// As of which revision it is.
    pub revision: u64,
    /// Whether it is being deleted.
    pub is_ending: bool,
    insert: Insert,
}

/// An object's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
}

/// What is done with the objects of one kind.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// The kind.
    pub kind: Arc<Kind>,
    /// Whether objects are cached whole.
    pub is_whole: bool,
    read: fn(&str) -> serde_json::Result<Item>,
    remove: fn(&mut Caches, &Arc<Kind>, &Place) -> Option<Applied>,
}

impl Item {
    /// Puts it into the caches.
    pub fn insert(self, caches: &mut Caches, kind: &Arc<Kind>) -> Applied {
        (self.insert)(caches, kind)
    }
}

impl Shelf {
    /// The shelf of a kind.
    #[must_use]
    pub fn of(kind: Arc<Kind>) -> Self {
        WHOLE_SHELVES
            .iter()
            .find(|(of, ..)| *of == *kind)
            .map_or_else(
                || Self {
                    kind: Arc::clone(&kind),
                    is_whole: false,
                    read: read_meta,
                    remove: remove_meta,
                },
                |(_, read, remove)| Self {
                    kind: Arc::clone(&kind),
                    is_whole: true,
                    read: *read,
                    remove: *remove,
                },
            )
    }

    /// Reads an object, or as much of it as is kept.
    ///
    /// # Errors
    /// What is not such an object.
    pub fn read(&self, json: &str) -> serde_json::Result<Item> {
        (self.read)(json)
    }

    /// Reads what identifies an object, and its revision.
    ///
    /// # Errors
    /// What is not an object.
    pub fn read_place(json: &str) -> serde_json::Result<(Place, u64)> {
        let partial: Partial = serde_json::from_str(json)?;
        Ok((place(&partial.metadata), revision(&partial.metadata)))
    }

    /// Takes an object out of the caches; `None` where it is not in them.
    pub fn remove(&self, caches: &mut Caches, place: &Place) -> Option<Applied> {
        (self.remove)(caches, &self.kind, place)
    }

    /// The revision at which an object is cached.
    #[must_use]
    pub fn cached_at(&self, caches: &Caches, place: &Place) -> Option<u64> {
        caches.graph.get(&place.uid)?.seen.parse().ok()
    }

    /// What of the kind is in the caches. Looks at everything there is.
    #[must_use]
    pub fn places(&self, caches: &Caches) -> Vec<Place> {
        let of_kind = caches.graph.of_kind(&self.kind);
        of_kind
            .map(|vertex| Place {
                key: vertex.key.clone(),
                uid: vertex.uid.clone(),
            })
            .collect()
    }
}

macro_rules! whole {
    ($($type:ident),* $(,)?) => {
        /// The kinds that are cached whole.
        pub const WHOLE: &[Kind] = &[$(<$type as Cached>::OF_KIND),*];

        const WHOLE_SHELVES: &[(Kind, Read, Remove)] =
            &[$((<$type as Cached>::OF_KIND, read_whole::<$type>, remove_whole::<$type>)),*];
    };
}

type Read = fn(&str) -> serde_json::Result<Item>;
type Remove = fn(&mut Caches, &Arc<Kind>, &Place) -> Option<Applied>;

whole![
    Namespace,
    Node,
    ServiceAccount,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    ControllerRevision,
    PersistentVolumeClaim,
    Job,
    Pod,
    Service,
    EndpointSlice,
    Lease,
    HorizontalPodAutoscaler,
];

fn read_whole<T: Cached + DeserializeOwned>(json: &str) -> serde_json::Result<Item> {
    let mut object: T = serde_json::from_str(json)?;
    object.trim();
    let meta = object.metadata();
    Ok(Item {
        place: place(meta),
        revision: revision(meta),
        is_ending: meta.deletion_timestamp.is_some(),
        insert: Box::new(move |caches, kind| caches.insert(object, kind)),
    })
}

fn remove_whole<T: Cached>(caches: &mut Caches, _: &Arc<Kind>, place: &Place) -> Option<Applied> {
    let cached = T::store(caches).get(&place.key)?;
    if cached.metadata().uid.as_deref() != Some(&place.uid) {
        return None;
    }
    caches.remove::<T>(&place.key)
}

/// An object of whatever kind, as far as everybody is interested.
#[derive(Deserialize)]
struct Partial {
    metadata: ObjectMeta,
}

fn read_meta(json: &str) -> serde_json::Result<Item> {
    let Partial { mut metadata } = serde_json::from_str(json)?;
    metadata.managed_fields = None;
    metadata.annotations = None;
    Ok(Item {
        place: place(&metadata),
        revision: revision(&metadata),
        is_ending: metadata.deletion_timestamp.is_some(),
        insert: Box::new(move |caches, kind| caches.insert_meta(kind, metadata)),
    })
}

fn remove_meta(caches: &mut Caches, kind: &Arc<Kind>, place: &Place) -> Option<Applied> {
    caches.graph.get(&place.uid)?;
    let meta = ObjectMeta {
        name: Some(place.key.name.clone()),
        namespace: place.key.namespace.clone(),
        uid: Some(place.uid.clone()),
        ..ObjectMeta::default()
    };
    Some(caches.remove_meta(kind, meta))
}

fn place(meta: &ObjectMeta) -> Place {
    Place {
        key: key_of(meta),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

fn revision(meta: &ObjectMeta) -> u64 {
    let version = meta.resource_version.as_deref();
    version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use coracle_controllers::caches::Object;
    use serde_json::json;

    use super::*;

    fn object(name: &str, uid: &str, version: &str) -> String {
        let meta = json!({"name": name, "namespace": "d", "uid": uid, "resourceVersion": version,
            "managedFields": [{"manager": "m"}], "deletionTimestamp": "2020-01-01T00:00:00Z"});
        json!({"metadata": meta, "spec": {"containers": [{"name": "main", "image": "i"}]}})
            .to_string()
    }

    #[test]
    fn pods_are_kept_whole_but_for_what_nobody_looks_at() {
        let shelf = Shelf::of(Arc::new(Kind::POD));
        assert!(shelf.is_whole);
        let mut caches = Caches::default();
        let item = shelf.read(&object("a", "u", "7")).unwrap();
        assert_eq!((item.revision, item.is_ending), (7, true));
        let place = item.place.clone();
        let applied = item.insert(&mut caches, &shelf.kind);
        assert!(matches!(applied.new, Some(Object::Pod(_))));
        assert_eq!(shelf.cached_at(&caches, &place), Some(7));
        assert_eq!(shelf.places(&caches), std::slice::from_ref(&place));
        let pod = caches.pods.get(&place.key).unwrap();
        assert!(pod.metadata.managed_fields.is_none());
        let other = Place {
            uid: "v".to_owned(),
            ..place.clone()
        };
        assert!(shelf.remove(&mut caches, &other).is_none());
        assert!(shelf.remove(&mut caches, &place).is_some());
        assert!(caches.pods.is_empty() && caches.graph.is_gone("u"));
    }

    #[test]
    fn of_other_kinds_only_metadata_is_kept() {
        let kind = Kind {
            kind: "ConfigMap".into(),
            plural: "configmaps".into(),
            ..Kind::POD
        };
        let shelf = Shelf::of(Arc::new(kind));
        assert!(!shelf.is_whole);
        let mut caches = Caches::default();
        let item = shelf.read(&object("a", "u", "7")).unwrap();
        let place = item.place.clone();
        let applied = item.insert(&mut caches, &shelf.kind);
        assert!(matches!(applied.new, Some(Object::Other(..))));
        let removed = shelf.remove(&mut caches, &place).unwrap();
        assert_eq!(removed.old.unwrap().meta().namespace.as_deref(), Some("d"));
        assert!(shelf.remove(&mut caches, &place).is_none());
        assert!(shelf.read("{}").is_err());
    }
}
