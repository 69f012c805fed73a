//! The volume claims of a StatefulSet's pods: made before the pods, kept when these go, unless the set says that they go with pod or set. That is left to
//! garbage collection: a claim's owners are all that is changed here.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use serde_json::{Value, json};

use crate::{
    action::{Action, Part, Target, seen},
    kind::Kind,
};

/// What becomes of claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Whether they go with the set.
    pub with_set: bool,
    /// Whether they go with a pod that is one too many.
    pub when_scaled: bool,
}

impl Retention {
    /// What a set says.
    #[must_use]
    pub fn of(set: &StatefulSet) -> Self {
        let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
        let deletes = |of: Option<&String>| of.map(String::as_str) == Some("Delete");
        Self {
            with_set: deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            when_scaled: deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        }
    }
}

fn templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec
        .volume_claim_templates
        .as_deref()
        .unwrap_or_default()
}

fn template_name(template: &PersistentVolumeClaim) -> &str {
    template.metadata.name.as_deref().unwrap_or_default()
}

fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    let set = set.metadata.name.as_deref().unwrap_or_default();
    format!("{}-{set}-{ordinal}", template_name(template))
}

/// Whether `stem` is what names of claims of a set begin with.
#[must_use]
pub fn is_stem_of(stem: &str, set: &StatefulSet) -> bool {
    let own = set.metadata.name.as_deref().unwrap_or_default();
    let of = |template: &PersistentVolumeClaim| format!("{}-{own}", template_name(template));
    templates(set).iter().any(|template| of(template) == stem)
}

/// The volumes by which a pod finds its claims.
#[must_use]
pub fn volumes(set: &StatefulSet, ordinal: i32) -> Vec<Volume> {
    let volume = |template: &PersistentVolumeClaim| Volume {
        name: template_name(template).to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: name(set, template, ordinal),
            ..PersistentVolumeClaimVolumeSource::default()
        }),
        ..Volume::default()
    };
    templates(set).iter().map(volume).collect()
}

/// How a look at the claims of one pod came out.
#[derive(Debug, Default, PartialEq)]
pub struct Due {
    /// What is to be done about them.
    pub actions: Vec<Action>,
    /// Whether one is going away, so that the pod cannot be made yet.
    pub is_ending: bool,
}

/// What is to be done about the claims of a pod, existing or to be made. `condemned` is the pod where it is one too many.
#[must_use]
pub fn due<'a>(
    set: &StatefulSet,
    owner: &Target,
    ordinal: i32,
    condemned: Option<&Pod>,
    find: &dyn Fn(&str) -> Option<&'a Arc<PersistentVolumeClaim>>,
) -> Due {
    let retention = Retention::of(set);
    let mut due = Due::default();
    for template in templates(set) {
        let name = name(set, template, ordinal);
        match find(&name) {
            Some(claim) => {
                due.is_ending |= claim.metadata.deletion_timestamp.is_some();
                due.actions
                    .extend(owned(claim, owner, condemned, retention));
            }
            None if condemned.is_none() => {
                due.actions.push(Action::Create {
                    kind: Kind::CLAIM,
                    object: make(set, owner, template, &name, retention),
                });
            }
            None => {}
        }
    }
    due
}

fn make(
    set: &StatefulSet,
    owner: &Target,
    template: &PersistentVolumeClaim,
    name: &str,
    retention: Retention,
) -> Value {
    let selected = set.spec.selector.match_labels.clone();
    let mut labels = template.metadata.labels.clone().unwrap_or_default();
    labels.extend(selected.unwrap_or_default());
    let owners = retention.with_set.then(|| vec![of_set(owner)]);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "namespace": owner.key.namespace,
            "labels": labels,
            "annotations": template.metadata.annotations,
            "ownerReferences": owners,
        },
        "spec": template.spec,
    })
}

/// Being an owner is not being its controller: the claim may be somebody else's.
fn of_set(owner: &Target) -> OwnerReference {
    OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..owner.controller_ref()
    }
}

/// Makes set and pod the claim's owners, or not, as its retention says. Owners that are neither stay.
fn owned(
    claim: &PersistentVolumeClaim,
    owner: &Target,
    condemned: Option<&Pod>,
    retention: Retention,
) -> Option<Action> {
    let has = claim.metadata.owner_references.clone().unwrap_or_default();
    // Whoever made it its own by hand does not want it to be ours.
    if has.iter().any(|one| one.controller == Some(true)) {
        return None;
    }
    let mut should = has.clone();
    let pod = condemned.filter(|_| retention.when_scaled);
    let pod_uid = pod.and_then(|pod| pod.metadata.uid.clone());
    should.retain(|one| {
        let is_pod = one.kind == "Pod" && Some(&one.uid) != pod_uid.as_ref();
        let is_set = one.uid == owner.uid && !retention.with_set;
        !is_pod && !is_set
    });
    if retention.with_set && !should.iter().any(|one| one.uid == owner.uid) {
        should.push(of_set(owner));
    }
    if let Some(pod) = pod
        && !should.iter().any(|one| Some(&one.uid) == pod_uid.as_ref())
    {
        should.push(OwnerReference {
            controller: None,
            block_owner_deletion: None,
            ..Target::of(&Kind::POD, &pod.metadata).controller_ref()
        });
    }
    if should == has {
        return None;
    }
    let owners = (!should.is_empty()).then_some(should);
    Some(Action::Patch {
        target: Target::of(&Kind::CLAIM, &claim.metadata),
        seen: seen(&claim.metadata),
        part: Part::Main,
        patch: json!({ "metadata": { "ownerReferences": owners } }),
    })
}
