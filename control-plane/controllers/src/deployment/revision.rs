//! Revisions: which ReplicaSet is the Deployment's current one, and the annotations in which `kubectl rollout history` and `undo` read.

use std::{collections::BTreeMap, sync::Arc};

use coracle_api::pods::template_hash;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::PodTemplateSpec,
};
use serde_json::{Value, json};

use super::bounds::Bounds;
use crate::action::Target;

/// The annotation with the revision, on Deployments and ReplicaSets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// The annotation with the revisions that a ReplicaSet had before.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The annotation with the Deployment's number of replicas when it last sized the set.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The annotation with the most pods the Deployment allowed then.
pub const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// The label that tells the pods of a Deployment's sets apart.
pub const HASH: &str = "pod-template-hash";
/// Annotations of a Deployment that its sets don't take over.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];
/// The longest history, in bytes. Upstream's.
const HISTORY_LIMIT: usize = 2000;

/// The revision of a set or Deployment; 0 when it has none.
#[must_use]
pub fn revision(annotations: Option<&BTreeMap<String, String>>) -> i64 {
    annotation(annotations, REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// An annotation.
#[must_use]
pub fn annotation<'a>(
    annotations: Option<&'a BTreeMap<String, String>>,
    name: &str,
) -> Option<&'a str> {
    annotations?.get(name).map(String::as_str)
}

/// The oldest of the sets that has the Deployment's template, the label with the hash apart.
#[must_use]
pub fn current<'a>(
    deployment: &Deployment,
    sets: &[&'a Arc<ReplicaSet>],
) -> Option<&'a Arc<ReplicaSet>> {
    let wanted = without_hash(&deployment.spec.template);
    let same = sets.iter().copied().filter(|set| {
        let template = set.spec.template.as_ref();
        template.is_some_and(|template| without_hash(template) == wanted)
    });
    same.min_by_key(|set| age(set))
}

/// The order of age, oldest first.
pub(super) fn age(set: &ReplicaSet) -> (jiff::Timestamp, String) {
    let meta = &set.metadata;
    let created = meta.creation_timestamp.as_ref();
    let created = created.map_or(jiff::Timestamp::MAX, |time| time.0);
    (created, meta.name.clone().unwrap_or_default())
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        if let Some(labels) = &mut metadata.labels {
            labels.remove(HASH);
        }
        // An object's metadata has it, a template's does not: how the server writes it must not make a difference.
        metadata.creation_timestamp = None;
    }
    template
}

/// The name of the set a Deployment's template would get.
#[must_use]
pub fn set_name(deployment: &Deployment) -> (String, String) {
    let template = serde_json::to_value(&deployment.spec.template).unwrap_or_default();
    let status = deployment.status.as_ref();
    let collisions = status
        .and_then(|status| status.collision_count)
        .unwrap_or(0);
    let hash = template_hash(&template, collisions);
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    (format!("{name}-{hash}"), hash)
}

/// A new set for the Deployment's template.
#[must_use]
pub fn new_set(
    deployment: &Deployment,
    owner: &Target,
    revision: i64,
    replicas: i32,
    bounds: Bounds,
) -> Value {
    let (name, hash) = set_name(deployment);
    let spec = &deployment.spec;
    let mut template = spec.template.clone();
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH.to_owned(), hash);
    let mut annotations = copied(deployment);
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.extend(sizes(bounds));
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": owner.key.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner.controller_ref()],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": spec.min_ready_seconds.unwrap_or(0),
            "selector": selector,
            "template": template,
        },
    })
}

/// The annotations by which a set remembers what its size was a part of.
#[must_use]
pub fn sizes(bounds: Bounds) -> [(String, String); 2] {
    [
        (DESIRED.to_owned(), bounds.replicas.to_string()),
        (MOST.to_owned(), bounds.most().to_string()),
    ]
}

/// What has to change on the current set so that it bears the newest revision and the Deployment's annotations.
#[must_use]
pub fn annotations_due(
    deployment: &Deployment,
    set: &ReplicaSet,
    newest: i64,
) -> BTreeMap<String, String> {
    let has = set.metadata.annotations.as_ref();
    let mut due = copied(deployment);
    let own = revision(has);
    if own < newest {
        due.insert(REVISION.to_owned(), newest.to_string());
        if own > 0 {
            let history = annotation(has, HISTORY).unwrap_or_default();
            due.insert(HISTORY.to_owned(), lengthened(history, own));
        }
    }
    due.retain(|name, value| annotation(has, name) != Some(value));
    due
}

/// A history with one more revision, the oldest forgotten where it gets too long.
fn lengthened(history: &str, revision: i64) -> String {
    let mut parts: Vec<String> = history
        .split(',')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    parts.push(revision.to_string());
    while parts.len() > 1 && parts.join(",").len() > HISTORY_LIMIT {
        parts.remove(0);
    }
    parts.join(",")
}

fn copied(deployment: &Deployment) -> BTreeMap<String, String> {
    let annotations = deployment.metadata.annotations.iter().flatten();
    annotations
        .filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_forget_the_oldest() {
        assert_eq!(lengthened("", 1), "1");
        assert_eq!(lengthened("1,3", 5), "1,3,5");
        let long = vec!["1234567"; 249].join(",");
        let longer = lengthened(&long, 1_234_567);
        assert!(longer.len() <= HISTORY_LIMIT && longer.ends_with("1234567"));
    }
}
