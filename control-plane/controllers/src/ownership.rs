//! Who controls what: which objects are an owner's, which become so (adoption), which no longer are (release). By uid and selector, as upstream's
//! controller reference managers; never by name.

use std::sync::Arc;

use coracle_api::{pods::controller_ref, selector::LabelSelector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;

use crate::{
    action::{Action, Part, Target, seen},
    caches::Cached,
};

/// An owner's objects.
#[derive(Debug)]
pub struct Claimed<'a, T> {
    /// Those that are its own and that it selects.
    pub own: Vec<&'a Arc<T>>,
    /// What makes other objects its own, or its own others'. While there is something to claim, an owner should do nothing else: what it does next
    /// depends on how that goes.
    pub claims: Vec<Action>,
}

/// Finds what is `owner`'s among the objects it controls and those nobody controls.
pub fn claim<'a, T: Cached>(
    owner: &Target,
    owner_meta: &ObjectMeta,
    selector: &LabelSelector,
    controlled: impl IntoIterator<Item = &'a Arc<T>>,
    orphans: impl IntoIterator<Item = &'a Arc<T>>,
) -> Claimed<'a, T> {
    let owner_stays = owner_meta.deletion_timestamp.is_none();
    let mut claimed = Claimed {
        own: Vec::new(),
        claims: Vec::new(),
    };
    for object in controlled {
        let meta = object.metadata();
        if meta.namespace != owner_meta.namespace {
            continue;
        }
        if matches(selector, meta) {
            claimed.own.push(object);
        } else if owner_stays && meta.deletion_timestamp.is_none() {
            claimed.claims.push(release(&T::OF_KIND, meta, &owner.uid));
        }
    }
    for object in orphans {
        let meta = object.metadata();
        if owner_stays && meta.deletion_timestamp.is_none() && matches(selector, meta) {
            claimed.claims.push(adopt::<T>(meta, owner));
        }
    }
    claimed
}

/// Whether a selector matches an object. The empty selector matches nothing here: an owner of everything is an owner by mistake.
fn matches(selector: &LabelSelector, meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    !selector.is_empty() && selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
}

fn adopt<T: Cached>(meta: &ObjectMeta, owner: &Target) -> Action {
    let mut owners: Vec<OwnerReference> = meta.owner_references.clone().unwrap_or_default();
    owners.retain(|one| one.uid != owner.uid);
    owners.push(owner.controller_ref());
    Action::Adopt {
        target: Target::of(&T::OF_KIND, meta),
        seen: seen(meta),
        owner: owner.clone(),
        patch: json!({"metadata": {"ownerReferences": owners}}),
    }
}

/// Takes an owner out of an object's references.
#[must_use]
pub fn release(kind: &crate::kind::Kind, meta: &ObjectMeta, owner: &str) -> Action {
    let mut owners: Vec<OwnerReference> = meta.owner_references.clone().unwrap_or_default();
    owners.retain(|one| one.uid != owner);
    let owners = if owners.is_empty() {
        json!(null)
    } else {
        json!(owners)
    };
    Action::Patch {
        target: Target::of(kind, meta),
        seen: seen(meta),
        part: Part::Main,
        patch: json!({"metadata": {"ownerReferences": owners}}),
    }
}

/// Takes a finalizer off an object.
#[must_use]
pub fn without_finalizer(kind: &crate::kind::Kind, meta: &ObjectMeta, name: &str) -> Action {
    let finalizers = meta.finalizers.iter().flatten();
    let left: Vec<&String> = finalizers.filter(|one| *one != name).collect();
    let left = if left.is_empty() {
        json!(null)
    } else {
        json!(left)
    };
    Action::Patch {
        target: Target::of(kind, meta),
        seen: seen(meta),
        part: Part::Main,
        patch: json!({"metadata": {"finalizers": left}}),
    }
}

/// The key of an object's controller, if that is of `kind`.
#[must_use]
pub fn controller_key(
    meta: &ObjectMeta,
    kind: &crate::kind::Kind,
) -> Option<coracle_api::names::ObjectKey> {
    let owner = controller_ref(meta).filter(|owner| kind.is(&owner.api_version, &owner.kind))?;
    Some(coracle_api::names::ObjectKey {
        namespace: meta.namespace.clone(),
        name: owner.name.clone(),
    })
}
