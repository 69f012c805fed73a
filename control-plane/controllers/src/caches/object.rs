//! An object of any kind, and what is particular to each cached kind: its tags and what of it is not kept.

use std::sync::Arc;

use coracle_api::pods;
use k8s_openapi::{
    Metadata as _,
    api::core::v1::{Container, PodSpec},
};

use super::{
    Cached, Caches, ControllerRevision, DaemonSet, Deployment, EndpointSlice,
    HorizontalPodAutoscaler, Job, Lease, Namespace, Node, ObjectMeta, PersistentVolumeClaim, Pod,
    ReplicaSet, Service, ServiceAccount, StatefulSet, Store,
};
use crate::kind::Kind;

/// The label by which a slice says whose it is.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The tag of pods that have ended.
pub const ENDED: &str = "ended";

macro_rules! cached {
    ($($type:ident in $field:ident is $kind:ident { $($more:tt)* })*) => {
        /// An object of any kind.
        #[derive(Clone, Debug)]
        pub enum Object {
            $(
                #[doc = concat!("A ", stringify!($type), ".")]
                $type(Arc<$type>),
            )*
            /// An object of another kind: its metadata.
            Other(Arc<Kind>, Arc<ObjectMeta>),
        }

        impl Object {
            /// Its metadata.
            #[must_use]
            pub fn meta(&self) -> &ObjectMeta {
                match self {
                    $(Self::$type(object) => object.metadata(),)*
                    Self::Other(_, meta) => meta,
                }
            }

            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$type(_) => Kind::$kind,)*
                    Self::Other(kind, _) => (**kind).clone(),
                }
            }
        }

        $(impl Cached for $type {
            const OF_KIND: Kind = Kind::$kind;

            fn store(caches: &Caches) -> &Store<Self> {
                &caches.$field
            }

            fn store_mut(caches: &mut Caches) -> &mut Store<Self> {
                &mut caches.$field
            }

            fn wrap(object: Arc<Self>) -> Object {
                Object::$type(object)
            }

            $($more)*
        })*
    };
}

cached! {
    Pod in pods is POD {
        fn tags(&self) -> Vec<String> {
            let node = pods::node_name(self).map(on_node);
            let ended = pods::is_terminal(self).then(|| ENDED.to_owned());
            node.into_iter().chain(ended).collect()
        }

        fn trim(&mut self) {
            self.metadata.managed_fields = None;
            if let Some(spec) = &mut self.spec {
                trim_pod_spec(spec);
            }
        }
    }
    ReplicaSet in replica_sets is REPLICA_SET {}
    Deployment in deployments is DEPLOYMENT {}
    StatefulSet in stateful_sets is STATEFUL_SET {}
    DaemonSet in daemon_sets is DAEMON_SET {}
    ControllerRevision in revisions is CONTROLLER_REVISION {}
    PersistentVolumeClaim in claims is CLAIM {}
    Job in jobs is JOB {}
    HorizontalPodAutoscaler in autoscalers is AUTOSCALER {}
    Service in services is SERVICE {}
    EndpointSlice in endpoint_slices is ENDPOINT_SLICE {
        fn tags(&self) -> Vec<String> {
            let labels = self.metadata.labels.as_ref();
            let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
            let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
            service.map(|service| of_service(namespace, service)).into_iter().collect()
        }
    }
    Node in nodes is NODE {
        fn trim(&mut self) {
            self.metadata.managed_fields = None;
            if let Some(status) = &mut self.status {
                status.images = None;
            }
        }
    }
    Namespace in namespaces is NAMESPACE {}
    Lease in leases is LEASE {}
    ServiceAccount in service_accounts is SERVICE_ACCOUNT {}
}

/// The tag of pods bound to a node.
#[must_use]
pub fn on_node(node: &str) -> String {
    format!("node/{node}")
}

/// The tag of slices of a Service.
#[must_use]
pub fn of_service(namespace: &str, service: &str) -> String {
    format!("{namespace}/{service}")
}

/// Most of a pod's bytes are what only nodes look at.
fn trim_pod_spec(spec: &mut PodSpec) {
    spec.volumes = None;
    // By it a pod of a DaemonSet says which node it is for.
    if let Some(affinity) = &mut spec.affinity {
        affinity.pod_affinity = None;
        affinity.pod_anti_affinity = None;
    }
    spec.topology_spread_constraints = None;
    spec.ephemeral_containers = None;
    let own = spec.containers.iter_mut();
    for container in own.chain(spec.init_containers.iter_mut().flatten()) {
        let kept = Container {
            name: std::mem::take(&mut container.name),
            ports: container.ports.take(),
            resources: container.resources.take(),
            restart_policy: container.restart_policy.take(),
            ..Container::default()
        };
        *container = kept;
    }
}
