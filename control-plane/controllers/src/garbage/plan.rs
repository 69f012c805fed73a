//! Decides what becomes of an object whose owners go, and of one that waits for its dependents. Owners are compared by uid, and that one is gone is
//! believed only when its end was seen or the API server itself says so. Rules: upstream `pkg/controller/garbagecollector`.

use coracle_api::names::ObjectKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::{
    action::{Action, Lookup, Note, Part, Plan, Propagation, Severity, Target},
    caches::graph::{FOREGROUND, Graph, ORPHAN, Vertex},
    ownership,
};

/// Decides about one object.
///
/// # Guarantees
/// An object is deleted only when it has owners, all of which are known to be gone or wait for it to go.
#[must_use]
pub fn plan(vertex: &Vertex, graph: &Graph) -> Plan {
    let mut plan = Plan::default();
    if vertex.deleting && vertex.has_finalizer(ORPHAN) {
        orphan(vertex, graph, &mut plan);
        return plan;
    }
    if vertex.waits_for_dependents() {
        wait(vertex, graph, &mut plan);
    }
    if !vertex.deleting {
        collect(vertex, graph, &mut plan);
    }
    plan
}

/// What owners say about their dependent.
#[derive(Default)]
struct Owners<'a> {
    /// They keep it.
    solid: Vec<&'a OwnerReference>,
    /// They are gone.
    dangling: Vec<&'a OwnerReference>,
    /// They go as soon as it has gone.
    waiting: Vec<&'a OwnerReference>,
    /// It is not known.
    open: Vec<&'a OwnerReference>,
}

fn classify<'a>(vertex: &'a Vertex, graph: &Graph) -> Owners<'a> {
    let mut owners = Owners::default();
    for owner in &vertex.owners {
        let list = match graph.get(&owner.uid) {
            // Its uid is another object's, so that the owner that is meant does not exist.
            Some(one) if is_elsewhere(vertex, one) => &mut owners.dangling,
            Some(one) if !is_reachable(vertex, one) => &mut owners.solid,
            Some(one) if one.waits_for_dependents() => &mut owners.waiting,
            Some(_) => &mut owners.solid,
            None if graph.is_gone(&owner.uid) => &mut owners.dangling,
            None => &mut owners.open,
        };
        list.push(owner);
    }
    owners
}

/// Whether what has the owner's uid is in another namespace than the dependent. As upstream, that is no owner.
fn is_elsewhere(vertex: &Vertex, owner: &Vertex) -> bool {
    vertex.key.namespace.is_some() && !is_reachable(vertex, owner)
}

/// Whether the owner is where an owner may be: beside its dependent or beside all namespaces. An object beside all namespaces that names an owner in one
/// is never collected, as upstream: nobody can say which namespace was meant.
fn is_reachable(vertex: &Vertex, owner: &Vertex) -> bool {
    owner.key.namespace.is_none() || owner.key.namespace == vertex.key.namespace
}

/// Deletes an object nobody keeps.
fn collect(vertex: &Vertex, graph: &Graph, plan: &mut Plan) {
    if vertex.owners.is_empty() {
        return;
    }
    let owners = classify(vertex, graph);
    for owner in &vertex.owners {
        if graph
            .get(&owner.uid)
            .is_some_and(|one| is_elsewhere(vertex, one))
        {
            plan.notes.push(misplaced(vertex, owner));
        }
    }
    if !owners.solid.is_empty() {
        // Some stay: the others are forgotten.
        let gone = owners.dangling.iter().chain(&owners.waiting);
        let uids: Vec<&str> = gone.map(|owner| owner.uid.as_str()).collect();
        if !uids.is_empty() {
            plan.act(without(vertex, &uids));
        }
        return;
    }
    if !owners.open.is_empty() {
        for owner in owners.open {
            // An owner in a namespace is looked for beside its dependent; the driver knows which kinds are where.
            plan.lookups.push(Lookup::Exists {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                key: ObjectKey {
                    namespace: vertex.key.namespace.clone(),
                    name: owner.name.clone(),
                },
                uid: Some(owner.uid.clone()),
            });
        }
        return;
    }
    let has_dependents = graph.dependents_of(&vertex.uid).next().is_some();
    let propagation = if !owners.waiting.is_empty() && has_dependents {
        // The owner waits for all below it.
        Propagation::Foreground
    } else if vertex.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if vertex.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    plan.act(Action::Delete {
        target: target(vertex),
        // Somebody may have adopted it since.
        seen: Some(vertex.seen.clone()),
        propagation,
        grace: None,
    });
}

/// What users hear of an owner in another namespace.
fn misplaced(vertex: &Vertex, owner: &OwnerReference) -> Note {
    let namespace = vertex.key.namespace.as_deref().unwrap_or_default();
    let words = format!(
        "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
        owner.api_version, owner.kind, owner.name, owner.uid
    );
    target(vertex).note(Severity::Warning, "OwnerRefInvalidNamespace", words)
}

/// Lets an object go once nothing is left that must go before it. Its dependents are looked at one by one, each for itself.
fn wait(vertex: &Vertex, graph: &Graph, plan: &mut Plan) {
    let blocks = |dependent: &Vertex| {
        let mut owners = dependent.owners.iter();
        owners.any(|owner| owner.uid == vertex.uid && owner.block_owner_deletion == Some(true))
            && is_reachable(dependent, vertex)
            // Two that wait for each other would wait for ever.
            && !(dependent.waits_for_dependents() && vertex.owners.iter().any(|owner| owner.uid == dependent.uid))
    };
    if !graph.dependents_of(&vertex.uid).any(blocks) {
        plan.act(without_finalizer(vertex, FOREGROUND));
    }
}

/// Makes the dependents nobody's, and then lets the object go.
fn orphan(vertex: &Vertex, graph: &Graph, plan: &mut Plan) {
    for dependent in graph.dependents_of(&vertex.uid) {
        plan.act(without(dependent, &[&vertex.uid]));
    }
    if plan.actions.is_empty() {
        plan.act(without_finalizer(vertex, ORPHAN));
    }
}

fn target(vertex: &Vertex) -> Target {
    Target {
        kind: (*vertex.kind).clone(),
        key: vertex.key.clone(),
        uid: vertex.uid.clone(),
    }
}

/// As much of an object's metadata as patches need.
fn meta(vertex: &Vertex) -> ObjectMeta {
    ObjectMeta {
        name: Some(vertex.key.name.clone()),
        namespace: vertex.key.namespace.clone(),
        uid: Some(vertex.uid.clone()),
        resource_version: Some(vertex.seen.clone()),
        owner_references: Some(vertex.owners.clone()),
        finalizers: Some(vertex.finalizers.clone()),
        ..ObjectMeta::default()
    }
}

/// Takes owners out of an object's references.
fn without(vertex: &Vertex, uids: &[&str]) -> Action {
    let mut owners = vertex.owners.clone();
    owners.retain(|owner| !uids.contains(&owner.uid.as_str()));
    let owners = if owners.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::json!(owners)
    };
    Action::Patch {
        target: target(vertex),
        seen: vertex.seen.clone(),
        part: Part::Main,
        patch: serde_json::json!({"metadata": {"ownerReferences": owners}}),
    }
}

fn without_finalizer(vertex: &Vertex, name: &str) -> Action {
    ownership::without_finalizer(&vertex.kind, &meta(vertex), name)
}
