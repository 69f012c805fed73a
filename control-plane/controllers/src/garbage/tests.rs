//! What becomes of dependents.

use coracle_api::names::ObjectKey;
use serde_json::{Value, json};

use super::Garbage;
use crate::{
    action::Propagation,
    kind::Kind,
    model::{CONFIG_MAP, Place, World, ago, reconcile::Loop, scene},
};

/// A map, its uid `uid-name`, owned by others of these uids.
fn map(name: &str, owners: &[&str]) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|uid| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid.trim_start_matches("uid-"), "uid": uid, "blockOwnerDeletion": true}))
        .collect();
    json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "ownerReferences": owners}})
}

fn world(maps: &[Value]) -> World {
    let mut world = World::default();
    for map in maps {
        world.put(&CONFIG_MAP, map.clone());
    }
    world
}

fn place(name: &str) -> Place {
    (CONFIG_MAP, ObjectKey::namespaced("a", name))
}

/// Lets the collector work; gives the names that are left.
fn left(world: &mut World) -> Vec<String> {
    let mut one = Loop::new(Box::new(Garbage));
    let mut n = 0;
    while one.step(world, &mut |_, _| {}) {
        n += 1;
        assert!(n < 100, "it never ends");
    }
    let names = world.objects().map(|((_, key), _)| key.name.clone());
    names.collect()
}

fn deleting(map: Value, finalizer: &str) -> Value {
    let more = json!({"metadata": {"deletionTimestamp": ago(1), "finalizers": [finalizer]}});
    scene::with(map, more)
}

#[test]
fn dependents_follow_their_last_owner() {
    let mut world = world(&[
        map("a", &[]),
        map("b", &["uid-a"]),
        map("c", &["uid-b"]),
        map("d", &[]),
    ]);
    assert_eq!(left(&mut world), ["a", "b", "c", "d"]);
    world.delete(&place("a"), Propagation::Background, None);
    assert_eq!(left(&mut world), ["d"]);
}

#[test]
fn one_owner_that_stays_is_enough_and_the_others_are_forgotten() {
    let mut world = world(&[map("a", &[]), map("b", &["uid-a", "uid-c"]), map("c", &[])]);
    world.delete(&place("c"), Propagation::Background, None);
    assert_eq!(left(&mut world), ["a", "b"]);
    let owners = &world.get(&CONFIG_MAP, &place("b").1).unwrap()["metadata"]["ownerReferences"];
    assert_eq!(owners.as_array().unwrap().len(), 1, "{owners}");
}

#[test]
fn an_owner_nobody_has_seen_is_asked_for() {
    let mut world = world(&[map("b", &["uid-gone"])]);
    let planned = scene::planned(Garbage, "uid-b", &world);
    assert!(planned.starts_with("look Exists"), "{planned}");
    assert_eq!(left(&mut world), [""; 0]);
}

#[test]
fn another_object_of_the_owners_name_is_not_the_owner() {
    let again = scene::with(map("a", &[]), json!({"metadata": {"uid": "uid-second"}}));
    let mut world = world(&[again, map("b", &["uid-a"])]);
    assert_eq!(left(&mut world), ["a"]);
}

#[test]
fn foreground_waits_for_all_below() {
    let mut world = world(&[map("a", &[]), map("b", &["uid-a"]), map("c", &["uid-b"])]);
    let held = scene::with(
        map("c", &["uid-b"]),
        json!({"metadata": {"finalizers": ["mine"]}}),
    );
    world.put(&CONFIG_MAP, held);
    world.delete(&place("a"), Propagation::Foreground, None);
    assert_eq!(left(&mut world), ["a", "b", "c"], "c has a finalizer");
    assert!(
        world.get(&CONFIG_MAP, &place("b").1).unwrap()["metadata"]["deletionTimestamp"].is_string()
    );
    world.edit(&place("c"), &json!({"metadata": {"finalizers": null}}));
    assert_eq!(left(&mut world), [""; 0]);
}

#[test]
fn foreground_does_not_wait_for_those_that_do_not_block() {
    let free = scene::with(
        map("b", &["uid-a"]),
        json!({"metadata": {"finalizers": ["mine"]}}),
    );
    let mut free = free;
    free["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(false);
    let mut world = world(&[map("a", &[]), free]);
    world.delete(&place("a"), Propagation::Foreground, None);
    assert_eq!(left(&mut world), ["b"]);
}

#[test]
fn orphans_stay_and_forget_their_owner() {
    let mut world = world(&[
        map("a", &[]),
        map("b", &["uid-a"]),
        map("c", &["uid-a", "uid-d"]),
        map("d", &[]),
    ]);
    world.delete(&place("a"), Propagation::Orphan, None);
    assert_eq!(left(&mut world), ["b", "c", "d"]);
    let owners = |name: &str| {
        world.get(&CONFIG_MAP, &place(name).1).unwrap()["metadata"]["ownerReferences"].clone()
    };
    assert_eq!(owners("b"), json!(null));
    assert_eq!(owners("c").as_array().unwrap().len(), 1);
}

#[test]
fn two_that_wait_for_each_other_do_not_wait_for_ever() {
    let both = [
        deleting(map("a", &["uid-b"]), "foregroundDeletion"),
        deleting(map("b", &["uid-a"]), "foregroundDeletion"),
    ];
    assert_eq!(left(&mut world(&both)), [""; 0]);
}

/// An owner in another namespace is none: upstream collects its dependents and says so. They were kept for ever.
#[test]
fn an_owner_in_another_namespace_is_no_owner() {
    let elsewhere = scene::with(map("a", &[]), json!({"metadata": {"namespace": "b"}}));
    let mut world = world(&[elsewhere, map("b", &["uid-a"])]);
    let planned = scene::planned(Garbage, "uid-b", &world);
    assert!(
        planned.contains("delete ConfigMap b\nwarn OwnerRefInvalidNamespace"),
        "{planned}"
    );
    assert_eq!(left(&mut world), ["a"]);
}

#[test]
fn what_is_beside_all_namespaces_is_not_owned_from_within_one() {
    let mut world = world(&[map("a", &[])]);
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "uid-a"}]);
    world.put(
        &Kind::NODE,
        json!({"metadata": {"name": "n1", "uid": "uid-n1", "ownerReferences": owner}}),
    );
    scene::check(Garbage, "uid-n1", &world, "");
}
