//! HorizontalPodAutoscalers (autoscaling/v2): the number of pods follows what they use. [`metrics`] is what is measured, [`replicas`] what one metric
//! asks for, [`behavior`] how fast that may be followed, [`plan`] the decision. It is taken whenever measurements arrive.

pub mod behavior;
pub mod history;
pub mod metrics;
pub mod plan;
pub mod replicas;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use coracle_api::{names::ObjectKey, selector::LabelSelector};
use k8s_openapi::{
    api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::{LabelSelector as MetaSelector, ObjectMeta},
};

use crate::{
    action::{Plan, Target, key_of, seen},
    caches::Caches,
    controller::{Controller, Seen, Watch},
    kind::Kind,
    memory::Memory,
};
use plan::{Observed, Scale};

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Autoscalers;

impl Controller for Autoscalers {
    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        // Not pods or targets: measurements make it look.
        vec![Watch::of(Kind::AUTOSCALER, |change| {
            let is_spec = match (change.old, change.new) {
                (Some(old), Some(new)) => old.meta().generation != new.meta().generation,
                _ => true,
            };
            let new = change.new.filter(|_| is_spec);
            new.map(|one| key_of(one.meta())).into_iter().collect()
        })]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let autoscaler = seen.caches.autoscalers.get(key)?;
        let history = match seen.memory {
            Memory::Scaling(history) => history.clone(),
            _ => history::History::default(),
        };
        let observed = Observed {
            autoscaler,
            scale: scale(autoscaler, key, seen.caches),
            metrics: &seen.caches.metrics,
            history,
            now: seen.now,
        };
        Some(plan::plan(&observed))
    }
}

/// Finds what an autoscaler scales.
fn scale<'a>(
    autoscaler: &HorizontalPodAutoscaler,
    key: &ObjectKey,
    caches: &'a Caches,
) -> Result<Scale<'a>, String> {
    let to = &autoscaler.spec.scale_target_ref;
    let api_version = to.api_version.as_deref().unwrap_or("apps/v1");
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let target = ObjectKey::namespaced(namespace, &to.name);
    let missing = |kind: &Kind| {
        let resource = format!("{}.{}", kind.plural, kind.group);
        format!("{resource} {:?} not found", to.name)
    };
    if Kind::DEPLOYMENT.is(api_version, &to.kind) {
        let found = caches.deployments.get(&target);
        let found = found.ok_or_else(|| missing(&Kind::DEPLOYMENT))?;
        let status = found.status.as_ref();
        let current = status.and_then(|status| status.replicas);
        let counts = (found.spec.replicas.unwrap_or(1), current.unwrap_or(0));
        return scaled(
            Kind::DEPLOYMENT,
            &found.metadata,
            &found.spec.selector,
            counts,
            caches,
        );
    }
    if Kind::REPLICA_SET.is(api_version, &to.kind) {
        let found = caches.replica_sets.get(&target);
        let found = found.ok_or_else(|| missing(&Kind::REPLICA_SET))?;
        let current = found.status.as_ref().map_or(0, |status| status.replicas);
        let counts = (found.spec.replicas.unwrap_or(1), current);
        return scaled(
            Kind::REPLICA_SET,
            &found.metadata,
            &found.spec.selector,
            counts,
            caches,
        );
    }
    Err(format!(
        "no matches for kind {:?} in group {:?}",
        to.kind,
        crate::kind::group_of(api_version)
    ))
}

fn scaled<'a>(
    kind: Kind,
    meta: &ObjectMeta,
    selector: &MetaSelector,
    (wanted, current): (i32, i32),
    caches: &'a Caches,
) -> Result<Scale<'a>, String> {
    let selector = LabelSelector::from_meta(selector).map_err(|error| error.message)?;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    Ok(Scale {
        target: Target::of(&kind, meta),
        seen: seen(meta),
        wanted,
        current,
        pods: selected(namespace, &selector, caches),
    })
}

fn selected<'a>(
    namespace: &str,
    selector: &LabelSelector,
    caches: &'a Caches,
) -> Vec<&'a Arc<Pod>> {
    let pods = caches.pods.in_namespace(namespace);
    pods.filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
    })
    .collect()
}
