//! A model of the cluster for tests of planners: objects as JSON, changed by [`Action`]s under their preconditions as the API server would change them,
//! and seen through the same [`Caches`] that the driver fills. Knows no controller; nodes are played by tests.

pub mod describe;
pub mod reconcile;
pub mod scene;
pub mod tape;

use std::{collections::BTreeMap, sync::Arc};

use coracle_api::names::ObjectKey;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    action::{Action, Lookup, Part, Propagation, Target},
    caches::{
        Applied, Cached, Caches, Content, Remains,
        graph::{FOREGROUND, ORPHAN},
    },
    kind::Kind,
    merge,
};

/// The objects of a kind that no controller looks into.
pub const CONFIG_MAP: Kind = Kind {
    group: std::borrow::Cow::Borrowed(""),
    version: std::borrow::Cow::Borrowed("v1"),
    kind: std::borrow::Cow::Borrowed("ConfigMap"),
    plural: std::borrow::Cow::Borrowed("configmaps"),
    namespaced: true,
};

/// Why an action was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The world is not as the plan saw it.
    Behind,
    /// It is forbidden.
    Forbidden,
}

/// What an object is called among all.
pub type Place = (Kind, ObjectKey);

/// Everything there is.
#[derive(Debug)]
pub struct World {
    /// The time.
    pub now: Timestamp,
    /// What controllers see, always up to date.
    pub caches: Caches,
    objects: BTreeMap<Place, Value>,
    gone: Vec<String>,
    revision: u64,
    n_made: u64,
    /// Creations of these kinds are forbidden.
    pub forbidden: Vec<Kind>,
    changes: Vec<(Kind, Applied)>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: Timestamp::from_second(1_000_000).unwrap(),
            caches: Caches::default(),
            objects: BTreeMap::new(),
            gone: Vec::new(),
            revision: 10,
            n_made: 0,
            forbidden: Vec::new(),
            changes: Vec::new(),
        }
    }
}

impl Clone for World {
    /// The same objects, seen through caches of their own. What had changed is not told again.
    fn clone(&self) -> Self {
        let mut copy = Self {
            now: self.now,
            objects: self.objects.clone(),
            gone: self.gone.clone(),
            revision: self.revision,
            n_made: self.n_made,
            forbidden: self.forbidden.clone(),
            ..Self::default()
        };
        copy.caches = self.caches_in(false);
        copy
    }
}

/// A time, so many seconds before the world's beginning.
pub fn ago(seconds: i64) -> String {
    let now = World::default().now;
    now.saturating_sub(SignedDuration::from_secs(seconds))
        .unwrap()
        .to_string()
}

impl World {
    /// Caches filled anew, in the order of keys or against it.
    pub fn caches_in(&self, reversed: bool) -> Caches {
        let mut caches = Caches::default();
        let mut all: Vec<_> = self.objects.iter().collect();
        if reversed {
            all.reverse();
        }
        for ((kind, _), object) in all {
            insert(&mut caches, kind, object);
        }
        for uid in &self.gone {
            caches.graph.learn_gone(uid);
        }
        caches.contents = self.caches.contents.clone();
        caches.absent = self.caches.absent.clone();
        caches.metrics = self.caches.metrics.clone();
        caches
    }

    /// Puts an object there, with whatever uid, version and times it has not.
    pub fn put(&mut self, kind: &Kind, mut object: Value) -> &mut Self {
        self.n_made += 1;
        let made = self.n_made;
        let meta = object["metadata"].as_object_mut().unwrap();
        if kind.namespaced {
            meta.entry("namespace").or_insert(json!("a"));
        }
        let name = meta["name"].as_str().unwrap().to_owned();
        let namespace = meta.get("namespace").and_then(Value::as_str);
        let key = ObjectKey {
            namespace: namespace.map(str::to_owned),
            name,
        };
        meta.entry("uid").or_insert(json!(format!("uid-{made:03}")));
        meta.entry("creationTimestamp").or_insert(json!(ago(3600)));
        meta.entry("generation").or_insert(json!(1));
        self.store((kind.clone(), key), object);
        self
    }

    /// The objects of a kind.
    pub fn all(&self, kind: &Kind) -> impl Iterator<Item = &Value> + use<'_> {
        let kind = kind.clone();
        self.objects
            .iter()
            .filter(move |((of, _), _)| *of == kind)
            .map(|(_, object)| object)
    }

    /// All objects.
    pub fn objects(&self) -> impl Iterator<Item = (&Place, &Value)> {
        self.objects.iter()
    }

    /// An object.
    pub fn get(&self, kind: &Kind, key: &ObjectKey) -> Option<&Value> {
        self.objects.get(&(kind.clone(), key.clone()))
    }

    /// What has changed since this was last asked.
    pub fn take_changes(&mut self) -> Vec<(Kind, Applied)> {
        std::mem::take(&mut self.changes)
    }

    /// Lets time pass.
    pub fn wait(&mut self, seconds: i64) {
        self.now = crate::readiness::after(self.now, seconds);
    }

    /// Changes an object by a merge patch, as its user or node does; nothing happens where it is not.
    pub fn edit(&mut self, place: &Place, patch: &Value) {
        let Some(object) = self.objects.get(place) else {
            return;
        };
        let mut changed = object.clone();
        merge::apply(&mut changed, patch);
        self.write(place, changed);
    }

    /// Takes an object away, whatever keeps it.
    pub fn vanish(&mut self, place: &Place) {
        if self.objects.remove(place).is_some() {
            self.forget(place);
        }
    }

    /// Does what an action says.
    pub fn apply(
        &mut self,
        action: &Action,
        seen: Option<&str>,
    ) -> Result<Option<String>, Refused> {
        match action {
            Action::Create { kind, object } => self.create(kind, object),
            Action::Delete {
                target,
                propagation,
                grace,
                ..
            } => match self.check(target, seen) {
                Ok(place) => {
                    self.delete(&place, *propagation, *grace);
                    Ok(None)
                }
                // Gone already is what was wanted; only a version that does not match is not.
                Err(_) if seen.is_none() || !self.is_there(target) => Ok(None),
                Err(refused) => Err(refused),
            },
            Action::Patch {
                target,
                part,
                patch,
                ..
            } => {
                let place = self.check(target, seen)?;
                Ok(Some(self.patch(&place, *part, patch)))
            }
            Action::Adopt {
                target,
                owner,
                patch,
                ..
            } => {
                let place = self.check(target, seen)?;
                let owner = self.check(owner, None)?;
                if self.objects[&owner]["metadata"]["deletionTimestamp"].is_string() {
                    return Err(Refused::Behind);
                }
                Ok(Some(self.patch(&place, Part::Main, patch)))
            }
            Action::DeleteAll { kind, namespace } => {
                let places: Vec<Place> = self
                    .objects
                    .keys()
                    .filter(|(of, key)| of == kind && key.namespace.as_ref() == Some(namespace))
                    .cloned()
                    .collect();
                for place in places {
                    self.delete(&place, Propagation::Background, None);
                }
                Ok(None)
            }
        }
    }

    /// Answers a question as the API server would; says whether that was news.
    pub fn answer(&mut self, lookup: &Lookup) -> bool {
        match lookup {
            Lookup::Exists {
                api_version,
                kind,
                key,
                uid,
            } => {
                let found = self.objects.iter().find(|((of, at), _)| {
                    let key_there = ObjectKey {
                        namespace: key.namespace.clone().filter(|_| of.namespaced),
                        name: key.name.clone(),
                    };
                    of.is(api_version, kind) && *at == key_there
                });
                let found = found.map(|(_, object)| object["metadata"]["uid"].clone());
                match (found, uid) {
                    (Some(found), Some(uid)) if found == json!(uid) => false,
                    (_, Some(uid)) => {
                        self.gone.push(uid.clone());
                        let touched = self.caches.graph.learn_gone(uid);
                        self.changes.push((CONFIG_MAP, touch(touched)));
                        true
                    }
                    (Some(_), None) => false,
                    (None, None) => {
                        self.caches.absent.insert((kind.clone(), key.clone()));
                        true
                    }
                }
            }
            Lookup::Content { namespace } => {
                let key = ObjectKey::cluster(namespace);
                let Some(object) = self.get(&Kind::NAMESPACE, &key) else {
                    return false;
                };
                let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
                let left = self.remains(namespace);
                let content = Content {
                    uid,
                    at: self.now,
                    left,
                    failures: Vec::new(),
                };
                self.caches.contents.insert(namespace.clone(), content);
                true
            }
        }
    }

    fn remains(&self, namespace: &str) -> BTreeMap<String, Remains> {
        let mut left = BTreeMap::new();
        for ((kind, key), object) in &self.objects {
            if key.namespace.as_deref() != Some(namespace) {
                continue;
            }
            let resource = format!("{}.{}", kind.plural, kind.group);
            let remains = left.entry(resource).or_insert_with(|| Remains {
                kind: kind.clone(),
                count: 0,
                untouched: 0,
                finalizers: BTreeMap::new(),
            });
            remains.count += 1;
            let untouched = object["metadata"]["deletionTimestamp"].is_null();
            remains.untouched += usize::from(untouched);
        }
        left
    }

    fn is_there(&self, target: &Target) -> bool {
        let place = (target.kind.clone(), target.key.clone());
        let object = self.objects.get(&place);
        object.is_some_and(|object| object["metadata"]["uid"] == json!(target.uid))
    }

    fn check(&self, target: &Target, seen: Option<&str>) -> Result<Place, Refused> {
        let place = (target.kind.clone(), target.key.clone());
        let object = self.objects.get(&place).ok_or(Refused::Behind)?;
        let meta = &object["metadata"];
        let is_seen = seen.is_none_or(|seen| meta["resourceVersion"] == json!(seen));
        if meta["uid"] == json!(target.uid) && is_seen {
            Ok(place)
        } else {
            Err(Refused::Behind)
        }
    }

    fn create(&mut self, kind: &Kind, object: &Value) -> Result<Option<String>, Refused> {
        if self.forbidden.contains(kind) {
            return Err(Refused::Forbidden);
        }
        let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
        let place = (kind.clone(), crate::action::key_of(&meta));
        let namespace = place.1.namespace.as_ref().map(ObjectKey::cluster);
        let ending = namespace
            .and_then(|key| self.get(&Kind::NAMESPACE, &key))
            .is_some_and(|object| object["metadata"]["deletionTimestamp"].is_string());
        if ending || self.objects.contains_key(&place) {
            return Err(Refused::Behind);
        }
        let mut object = object.clone();
        object["metadata"]["creationTimestamp"] = json!(self.now.to_string());
        if *kind == Kind::POD {
            object["status"] = json!({"phase": "Pending"});
        }
        self.put(kind, object);
        Ok(None)
    }

    /// Deletes as the API server does: what has finalizers, or runs on a node, stays and is marked.
    pub fn delete(&mut self, place: &Place, propagation: Propagation, grace: Option<i64>) {
        let Some(object) = self.objects.get(place) else {
            return;
        };
        let mut object = object.clone();
        let ends = match propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some(FOREGROUND),
            Propagation::Orphan => Some(ORPHAN),
        };
        let finalizers = object["metadata"]["finalizers"].take();
        let mut finalizers: Vec<Value> = finalizers.as_array().cloned().unwrap_or_default();
        let began = object["metadata"]["deletionTimestamp"].is_string();
        if !began {
            finalizers.retain(|one| *one != FOREGROUND && *one != ORPHAN);
            finalizers.extend(ends.map(|name| json!(name)));
            object["metadata"]["deletionTimestamp"] = json!(self.now.to_string());
        }
        object["metadata"]["finalizers"] = json!(finalizers);
        if place.0 == Kind::POD {
            let own = coracle_api::pods::grace_period(&object).unwrap_or(0);
            let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
            let seconds = grace.unwrap_or(own).min(before.unwrap_or(i64::MAX));
            object["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
        }
        self.write(place, object);
    }

    fn patch(&mut self, place: &Place, part: Part, patch: &Value) -> String {
        let mut object = self.objects[place].clone();
        let status = object["status"].clone();
        merge::apply(&mut object, patch);
        if part == Part::Main && place.0 != Kind::NAMESPACE {
            object["status"] = status;
        }
        self.write(place, object)
    }

    /// Stores an object if it has changed, and removes it when nothing keeps it any more.
    fn write(&mut self, place: &Place, mut object: Value) -> String {
        let old = &self.objects[place];
        for field in ["status", "finalizers"] {
            let of = if field == "status" {
                &mut object
            } else {
                &mut object["metadata"]
            };
            if of[field].is_null() || of[field] == json!([]) {
                of.as_object_mut().unwrap().remove(field);
            }
        }
        if object == *old {
            return old["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .to_owned();
        }
        if object["spec"] != old["spec"] {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(1);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        if is_over(&place.0, &object) {
            let version = self.revision.to_string();
            self.vanish(place);
            return version;
        }
        self.store(place.clone(), object)
    }

    fn store(&mut self, place: Place, mut object: Value) -> String {
        self.revision += 1;
        let version = self.revision.to_string();
        object["metadata"]["resourceVersion"] = json!(version);
        let applied = insert(&mut self.caches, &place.0, &object);
        self.changes.push((place.0.clone(), applied));
        self.objects.insert(place, object);
        version
    }

    fn forget(&mut self, place: &Place) {
        self.revision += 1;
        if let Some((uid, applied)) = remove(&mut self.caches, place) {
            self.gone.push(uid);
            self.changes.push((place.0.clone(), applied));
        }
    }
}

/// Whether nothing keeps an object that is being deleted.
fn is_over(kind: &Kind, object: &Value) -> bool {
    let meta = &object["metadata"];
    let held = meta["finalizers"]
        .as_array()
        .is_some_and(|all| !all.is_empty());
    let held_by_spec = *kind == Kind::NAMESPACE
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
    let runs = *kind == Kind::POD && meta["deletionGracePeriodSeconds"].as_i64() != Some(0);
    meta["deletionTimestamp"].is_string() && !held && !held_by_spec && !runs
}

/// What is told when only the graph learns something.
fn touch(touched: Vec<String>) -> Applied {
    Applied {
        old: None,
        new: None,
        touched,
    }
}

/// A kind's way into the caches and out of them.
struct Shelf {
    kind: Kind,
    insert: fn(&mut Caches, &Value) -> Applied,
    remove: fn(&mut Caches, &ObjectKey) -> Option<Applied>,
}

fn shelf<T: Cached + DeserializeOwned>() -> Shelf {
    Shelf {
        kind: T::OF_KIND,
        insert: |caches, object| {
            let read = serde_json::from_value(object.clone());
            let mut object: T = read.unwrap_or_else(|error| panic!("{error}: {object:#}"));
            object.trim();
            caches.insert(object, &Arc::new(T::OF_KIND))
        },
        remove: Caches::remove::<T>,
    }
}

fn shelves() -> Vec<Shelf> {
    use k8s_openapi::api::{
        apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::Job,
        coordination::v1::Lease,
        core::v1::{Namespace, Node, PersistentVolumeClaim, Pod, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
    };
    vec![
        shelf::<Pod>(),
        shelf::<ReplicaSet>(),
        shelf::<Deployment>(),
        shelf::<StatefulSet>(),
        shelf::<DaemonSet>(),
        shelf::<ControllerRevision>(),
        shelf::<PersistentVolumeClaim>(),
        shelf::<Job>(),
        shelf::<HorizontalPodAutoscaler>(),
        shelf::<Service>(),
        shelf::<EndpointSlice>(),
        shelf::<Node>(),
        shelf::<Namespace>(),
        shelf::<Lease>(),
        shelf::<ServiceAccount>(),
    ]
}

fn insert(caches: &mut Caches, kind: &Kind, object: &Value) -> Applied {
    match shelves().iter().find(|shelf| shelf.kind == *kind) {
        Some(shelf) => (shelf.insert)(caches, object),
        None => caches.insert_meta(&Arc::new(kind.clone()), meta(object)),
    }
}

fn remove(caches: &mut Caches, (kind, key): &Place) -> Option<(String, Applied)> {
    let applied = match shelves().iter().find(|shelf| shelf.kind == *kind) {
        Some(shelf) => (shelf.remove)(caches, key)?,
        None => {
            let of = Arc::new(kind.clone());
            let uid = caches.graph.uid_at(&of, key)?.clone();
            let meta = ObjectMeta {
                name: Some(key.name.clone()),
                namespace: key.namespace.clone(),
                uid: Some(uid),
                ..ObjectMeta::default()
            };
            caches.remove_meta(&of, meta)
        }
    };
    let uid = applied.old.as_ref()?.meta().uid.clone()?;
    Some((uid, applied))
}

fn meta(object: &Value) -> ObjectMeta {
    serde_json::from_value(object["metadata"].clone()).unwrap()
}
