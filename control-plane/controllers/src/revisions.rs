//! The history of a pod template as ControllerRevisions: what StatefulSets and DaemonSets roll out, and where `kubectl rollout history` and `undo` read. Rules:
//! upstream `pkg/controller/history`.

use std::sync::Arc;

use coracle_api::pods::template_hash;
use k8s_openapi::api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec};
use serde_json::{Value, json};

use crate::{
    action::{Action, Part, Propagation, Target, seen},
    kind::Kind,
};

/// The label of pods with the name or hash of their revision.
pub const REVISION: &str = "controller-revision-hash";
/// The label of revisions with the hash of their template.
const HASH: &str = "controller.kubernetes.io/hash";

/// The revision of a template.
#[derive(Clone, Debug)]
pub struct Newest {
    /// Its name.
    pub name: String,
    /// What has to be done first: it is to be made, or to become the newest again.
    pub due: Option<Action>,
}

/// What a revision keeps of a template: a patch that puts it back.
#[must_use]
pub fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Some(map) = template.as_object_mut() {
        map.insert("$patch".to_owned(), json!("replace"));
    }
    json!({ "spec": { "template": template } })
}

/// The template that a revision keeps.
#[must_use]
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// Finds the revision of `template` among an owner's, or says what makes it. `None` where its name is taken by something else.
#[must_use]
pub fn newest(
    owner: &Target,
    of: &PodTemplateSpec,
    revisions: &[&Arc<ControllerRevision>],
    collisions: i32,
    taken: &dyn Fn(&str) -> bool,
) -> Option<Newest> {
    let last = revisions
        .iter()
        .map(|one| one.revision.unwrap_or(0))
        .max()
        .unwrap_or(0);
    let same = revisions
        .iter()
        .filter(|one| template(one).as_ref() == Some(of))
        .max_by_key(|one| (one.revision, one.metadata.name.clone()));
    if let Some(same) = same {
        let raise = (same.revision.unwrap_or(0) < last).then(|| Action::Patch {
            target: Target::of(&Kind::CONTROLLER_REVISION, &same.metadata),
            seen: seen(&same.metadata),
            part: Part::Main,
            patch: json!({ "revision": last + 1 }),
        });
        return Some(Newest {
            name: same.metadata.name.clone().unwrap_or_default(),
            due: raise,
        });
    }
    let data = data(of);
    let hash = template_hash(&data, collisions);
    let name = format!("{}-{hash}", owner.key.name);
    if taken(&name) {
        return None;
    }
    let labels = of.metadata.as_ref().and_then(|meta| meta.labels.clone());
    let mut labels = labels.unwrap_or_default();
    labels.insert(HASH.to_owned(), hash);
    let object = json!({
        "apiVersion": Kind::CONTROLLER_REVISION.api_version(),
        "kind": Kind::CONTROLLER_REVISION.kind,
        "metadata": {
            "name": name,
            "namespace": owner.key.namespace,
            "labels": labels,
            "ownerReferences": [owner.controller_ref()],
        },
        "data": data,
        "revision": last + 1,
    });
    Some(Newest {
        name,
        due: Some(Action::Create {
            kind: Kind::CONTROLLER_REVISION,
            object,
        }),
    })
}

/// Removes the oldest revisions beyond a limit that are not in use.
pub fn forget<'a, F: Fn(&str) -> bool>(
    revisions: &[&'a Arc<ControllerRevision>],
    in_use: F,
    limit: Option<i32>,
) -> impl Iterator<Item = Action> + use<'a, F> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(usize::MAX);
    let mut idle: Vec<&'a Arc<ControllerRevision>> = revisions
        .iter()
        .copied()
        .filter(|one| !in_use(one.metadata.name.as_deref().unwrap_or_default()))
        .filter(|one| one.metadata.deletion_timestamp.is_none())
        .collect();
    idle.sort_by_key(|one| (one.revision, one.metadata.name.clone()));
    let surplus = idle.len().saturating_sub(limit);
    idle.into_iter().take(surplus).map(|one| Action::Delete {
        target: Target::of(&Kind::CONTROLLER_REVISION, &one.metadata),
        seen: Some(seen(&one.metadata)),
        propagation: Propagation::Background,
        grace: None,
    })
}
