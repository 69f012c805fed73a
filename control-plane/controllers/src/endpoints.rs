//! EndpointSlices: where the pods of a Service are to be reached. [`desired`] says what there should be, [`plan`] how to get there with few changes.

pub mod desired;
pub mod plan;

#[cfg(test)]
mod tests;

use coracle_api::names::ObjectKey;
use k8s_openapi::api::core::v1::Pod;

use crate::{
    action::{Plan, key_of},
    caches::{Change, Object, SERVICE_NAME, of_service},
    controller::{Controller, Seen, Watch},
    kind::Kind,
};
use plan::Observed;

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endpoints;

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::SERVICE, |change| {
                change
                    .new
                    .map(|one| key_of(one.meta()))
                    .into_iter()
                    .collect()
            }),
            Watch::of(Kind::ENDPOINT_SLICE, of_slice),
            Watch::of(Kind::POD, selecting),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let caches = seen.caches;
        let service = caches.services.get(key)?;
        let namespace = key.namespace.as_deref()?;
        let slices = &caches.endpoint_slices;
        let observed = Observed {
            service,
            pods: caches.pods.in_namespace(namespace).collect(),
            slices: slices.tagged(&of_service(namespace, &key.name)).collect(),
            node: &|name| caches.nodes.get(&ObjectKey::cluster(name)),
            taken: &|name| {
                slices
                    .get(&ObjectKey::namespaced(namespace, name))
                    .is_some()
            },
        };
        Some(plan::plan(&observed))
    }
}

fn of_slice(change: &Change<'_>) -> Vec<ObjectKey> {
    let service = |one: &Object| {
        let labels = one.meta().labels.as_ref()?;
        let namespace = one.meta().namespace.as_deref()?;
        Some(ObjectKey::namespaced(namespace, labels.get(SERVICE_NAME)?))
    };
    change.both().filter_map(service).collect()
}

/// The Services that select the pod or did, if anything changed that they show.
fn selecting(change: &Change<'_>) -> Vec<ObjectKey> {
    let pod = |one: Option<&Object>| match one {
        Some(Object::Pod(pod)) => Some(pod.clone()),
        _ => None,
    };
    let (old, new) = (pod(change.old), pod(change.new));
    if let (Some(old), Some(new)) = (&old, &new)
        && shown(old) == shown(new)
    {
        return Vec::new();
    }
    let meta = change.both().next().map(Object::meta);
    let Some(namespace) = meta.and_then(|meta| meta.namespace.as_deref()) else {
        return Vec::new();
    };
    let selects = |service: &k8s_openapi::api::core::v1::Service| {
        plan::selector(service).is_some_and(|selector| {
            [&old, &new].into_iter().flatten().any(|pod| {
                let labels = pod.metadata.labels.as_ref();
                selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
            })
        })
    };
    let services = change.caches.services.in_namespace(namespace);
    services
        .filter(|service| selects(service))
        .map(|service| key_of(&service.metadata))
        .collect()
}

/// What of a pod its endpoints show.
fn shown(pod: &Pod) -> impl PartialEq + '_ {
    let status = pod.status.as_ref();
    (
        (
            &pod.metadata.uid,
            &pod.metadata.labels,
            pod.metadata.deletion_timestamp.is_some(),
        ),
        (
            coracle_api::pods::is_ready(pod),
            coracle_api::pods::is_terminal(pod),
            coracle_api::pods::node_name(pod),
        ),
        status.map(|status| (&status.pod_ip, &status.pod_ips)),
    )
}
