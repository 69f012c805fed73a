//! What makes a pod of a StatefulSet this one: its ordinal, its name, and what its name is found by.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Pod, PodTemplateSpec},
};
use serde_json::Value;

use super::claims;
use crate::{action::Target, revisions::REVISION, template};

/// The label with a pod's name.
const NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label with a pod's ordinal.
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// Splits the name of a pod into that of its set and its ordinal.
#[must_use]
pub fn parse(name: &str) -> Option<(&str, i32)> {
    let (set, ordinal) = name.rsplit_once('-')?;
    let is_plain = ordinal == "0" || !ordinal.starts_with(['0', '+']);
    let ordinal = ordinal.parse().ok().filter(|_| is_plain)?;
    Some((set, ordinal)).filter(|(set, _)| !set.is_empty())
}

/// The ordinal of a pod of a set; `None` for a pod whose name is not that of one.
#[must_use]
pub fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (of, ordinal) = parse(pod.metadata.name.as_deref()?)?;
    (Some(of) == set.metadata.name.as_deref()).then_some(ordinal)
}

/// The name of a pod of a set.
#[must_use]
pub fn name(set: &StatefulSet, ordinal: i32) -> String {
    let set = set.metadata.name.as_deref().unwrap_or_default();
    format!("{set}-{ordinal}")
}

/// The revision a pod was made of.
#[must_use]
pub fn revision(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(REVISION))
        .map_or("", String::as_str)
}

/// A pod of a set.
#[must_use]
pub fn make(
    set: &StatefulSet,
    owner: &Target,
    of: &PodTemplateSpec,
    revision: &str,
    ordinal: i32,
) -> Value {
    let name = name(set, ordinal);
    let mut of = of.clone();
    let labels = of
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(NAME.to_owned(), name.clone());
    labels.insert(INDEX.to_owned(), ordinal.to_string());
    labels.insert(REVISION.to_owned(), revision.to_owned());
    if let Some(spec) = &mut of.spec {
        spec.hostname = Some(name.clone());
        let service = set.spec.service_name.clone();
        spec.subdomain = service.filter(|name| !name.is_empty());
        let volumes = claims::volumes(set, ordinal);
        if !volumes.is_empty() {
            let own = spec.volumes.get_or_insert_default();
            own.retain(|one| !volumes.iter().any(|other| other.name == one.name));
            own.extend(volumes);
        }
    }
    let base = format!("{}-", owner.key.name);
    let mut pod = template::pod(&of, owner, &base, &name);
    if let Some(meta) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        // Its name is its own.
        meta.remove("generateName");
    }
    pod
}

/// A pod and its ordinal.
pub type Member<'a> = (i32, &'a Arc<Pod>);
