//! What controllers see of the cluster: objects by kind, indexed, plus who owns whom. Filled by the driver from watches, or by tests; pure data either way.

pub mod graph;
mod object;
pub mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coracle_api::names::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::{
    Metadata,
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

use crate::{autoscaler::metrics::Metrics, kind::Kind};
use graph::Graph;
pub use object::{ENDED, Object, SERVICE_NAME, of_service, on_node};
use store::Store;

/// A kind that is cached whole.
pub trait Cached: Metadata<Ty = ObjectMeta> + Clone + Send + Sync + Sized + 'static {
    /// The kind.
    const OF_KIND: Kind;

    /// Where its objects are.
    fn store(caches: &Caches) -> &Store<Self>;

    /// Where its objects are.
    fn store_mut(caches: &mut Caches) -> &mut Store<Self>;

    /// The object as one of any kind.
    fn wrap(object: Arc<Self>) -> Object;

    /// Words by which the object is found. What they mean is the kind's business.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }

    /// Takes away what no controller looks at. Cached objects are never written back, so that nothing is lost by it.
    fn trim(&mut self) {
        self.metadata_mut().managed_fields = None;
    }
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Caches {
    /// Pods, tagged `node/NAME` and `ended`.
    pub pods: Store<Pod>,
    /// ReplicaSets.
    pub replica_sets: Store<ReplicaSet>,
    /// Deployments.
    pub deployments: Store<Deployment>,
    /// StatefulSets.
    pub stateful_sets: Store<StatefulSet>,
    /// DaemonSets.
    pub daemon_sets: Store<DaemonSet>,
    /// ControllerRevisions.
    pub revisions: Store<ControllerRevision>,
    /// PersistentVolumeClaims.
    pub claims: Store<PersistentVolumeClaim>,
    /// Jobs.
    pub jobs: Store<Job>,
    /// HorizontalPodAutoscalers.
    pub autoscalers: Store<HorizontalPodAutoscaler>,
    /// Services.
    pub services: Store<Service>,
    /// EndpointSlices, tagged `NAMESPACE/SERVICE`.
    pub endpoint_slices: Store<EndpointSlice>,
    /// Nodes.
    pub nodes: Store<Node>,
    /// Namespaces.
    pub namespaces: Store<Namespace>,
    /// Leases.
    pub leases: Store<Lease>,
    /// ServiceAccounts.
    pub service_accounts: Store<ServiceAccount>,
    /// Owners and dependents of all kinds.
    pub graph: Graph,
    /// What pods use.
    pub metrics: Metrics,
    /// What was found in namespaces that are going away, by name.
    pub contents: BTreeMap<String, Content>,
    /// Objects of which the API server itself said that they do not exist: kind and key. Only asked for where uids do not help.
    pub absent: BTreeSet<(String, ObjectKey)>,
}

/// What was found in a namespace after it had been marked for deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The uid of the namespace.
    pub uid: String,
    /// When it was found.
    pub at: Timestamp,
    /// The kinds of which something is left, by `resource.group`.
    pub left: BTreeMap<String, Remains>,
    /// What could not be looked at, and why.
    pub failures: Vec<String>,
}

/// What is left of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The kind.
    pub kind: Kind,
    /// How many objects.
    pub count: usize,
    /// How many of them are not yet being deleted.
    pub untouched: usize,
    /// How many have a finalizer, by finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

/// An object that was, is, or both.
#[derive(Debug)]
pub struct Change<'a> {
    /// What was known of it; `None`: it is new.
    pub old: Option<&'a Object>,
    /// What it is; `None`: it is gone.
    pub new: Option<&'a Object>,
    /// The uids of those for whose garbage collection it may matter.
    pub touched: &'a [String],
    /// Everything, the change included.
    pub caches: &'a Caches,
}

impl Change<'_> {
    /// What it was and what it is.
    pub fn both(&self) -> impl Iterator<Item = &Object> {
        self.old.into_iter().chain(self.new)
    }
}

/// What happened to the caches.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What was there.
    pub old: Option<Object>,
    /// What is there.
    pub new: Option<Object>,
    /// The uids of those for whose garbage collection it may matter.
    pub touched: Vec<String>,
}

impl Applied {
    /// The change, seen in `caches`.
    #[must_use]
    pub fn change<'a>(&'a self, caches: &'a Caches) -> Change<'a> {
        Change {
            old: self.old.as_ref(),
            new: self.new.as_ref(),
            touched: &self.touched,
            caches,
        }
    }
}

impl Caches {
    /// Adds or replaces an object of a kind that is cached whole.
    pub fn insert<T: Cached>(&mut self, object: T, kind: &Arc<Kind>) -> Applied {
        let object = Arc::new(object);
        let touched = self.graph.insert(kind, object.metadata());
        let key = crate::action::key_of(object.metadata());
        self.absent.remove(&(kind.kind.to_string(), key));
        let old = T::store_mut(self).insert(Arc::clone(&object));
        Applied {
            old: old.map(T::wrap),
            new: Some(T::wrap(object)),
            touched,
        }
    }

    /// Takes an object away of a kind that is cached whole; `None` where it is not there.
    pub fn remove<T: Cached>(&mut self, key: &ObjectKey) -> Option<Applied> {
        let old = T::store_mut(self).remove(key)?;
        let uid = old.metadata().uid.as_deref().unwrap_or_default();
        let touched = self.graph.remove(uid);
        Some(Applied {
            old: Some(T::wrap(old)),
            new: None,
            touched,
        })
    }

    /// Adds or replaces an object of which only the metadata is known.
    pub fn insert_meta(&mut self, kind: &Arc<Kind>, meta: ObjectMeta) -> Applied {
        let touched = self.graph.insert(kind, &meta);
        Applied {
            old: None,
            new: Some(Object::Other(Arc::clone(kind), Arc::new(meta))),
            touched,
        }
    }

    /// Takes an object away of which only the metadata is known.
    pub fn remove_meta(&mut self, kind: &Arc<Kind>, meta: ObjectMeta) -> Applied {
        let touched = self.graph.remove(meta.uid.as_deref().unwrap_or_default());
        Applied {
            old: Some(Object::Other(Arc::clone(kind), Arc::new(meta))),
            new: None,
            touched,
        }
    }
}
