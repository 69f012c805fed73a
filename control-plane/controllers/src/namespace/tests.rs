//! How namespaces end.

use coracle_api::names::ObjectKey;
use serde_json::json;

use super::Namespaces;
use crate::{
    kind::Kind,
    model::{
        CONFIG_MAP, World, ago,
        reconcile::Loop,
        scene::{self, pod},
    },
};

fn world(ends: bool) -> World {
    let mut world = World::default();
    let mut namespace = json!({"metadata": {"name": "a", "uid": "uid-a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    if ends {
        namespace["metadata"]["deletionTimestamp"] = json!(ago(1));
    }
    world.put(&Kind::NAMESPACE, namespace);
    world
}

fn step(one: &mut Loop, world: &mut World) {
    while one.step(world, &mut |_, _| {}) {}
}

#[test]
fn a_namespace_that_stays_is_left_alone() {
    scene::check(Namespaces, "a", &world(false), "");
}

#[test]
fn what_is_left_is_asked_of_the_api_server_itself() {
    scene::check(
        Namespaces,
        "a",
        &world(true),
        "look Content { namespace: \"a\" }",
    );
}

#[test]
fn pods_go_first_then_the_rest_then_the_namespace() {
    let mut world = world(true);
    world.put(&Kind::POD, pod("p", "running", json!({}), json!([])));
    world.put(&CONFIG_MAP, json!({"metadata": {"name": "m"}}));
    world.put(
        &CONFIG_MAP,
        json!({"metadata": {"name": "m", "namespace": "b"}}),
    );
    let mut one = Loop::new(Box::new(Namespaces));
    step(&mut one, &mut world);
    let map = ObjectKey::namespaced("a", "m");
    let ends = |world: &World, kind: &Kind, key: &ObjectKey| {
        world
            .get(kind, key)
            .is_none_or(|one| one["metadata"]["deletionTimestamp"].is_string())
    };
    assert!(ends(&world, &Kind::POD, &ObjectKey::namespaced("a", "p")));
    assert!(
        !ends(&world, &CONFIG_MAP, &map),
        "what pods use stays until they have stopped"
    );
    let namespace = world.all(&Kind::NAMESPACE).next().unwrap();
    assert_eq!(namespace["status"]["phase"], "Terminating");
    let conditions = namespace["status"]["conditions"].as_array().unwrap();
    let remaining = conditions
        .iter()
        .find(|one| one["type"] == "NamespaceContentRemaining")
        .unwrap();
    assert_eq!(
        remaining["message"],
        "Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 resource instances"
    );
    world.vanish(&(Kind::POD, ObjectKey::namespaced("a", "p")));
    step(&mut one, &mut world);
    world.now = one.next_time().unwrap_or(world.now);
    step(&mut one, &mut world);
    world.now = one.next_time().unwrap_or(world.now);
    step(&mut one, &mut world);
    assert!(world.get(&CONFIG_MAP, &map).is_none());
    assert_eq!(world.all(&Kind::NAMESPACE).count(), 0);
    assert_eq!(
        world.all(&CONFIG_MAP).count(),
        1,
        "that of another namespace"
    );
}

#[test]
fn what_does_not_end_is_looked_at_again_and_told_of() {
    let mut world = world(true);
    let held = json!({"metadata": {"name": "m", "finalizers": ["mine"]}});
    world.put(&CONFIG_MAP, held);
    let mut one = Loop::new(Box::new(Namespaces));
    step(&mut one, &mut world);
    let wait = one.next_time().unwrap().duration_since(world.now).as_secs();
    assert_eq!(wait, super::AGAIN);
    assert_eq!(world.all(&Kind::NAMESPACE).count(), 1);
}

#[test]
fn another_namespace_of_the_name_is_asked_about_anew() {
    let mut world = world(true);
    let mut one = Loop::new(Box::new(Namespaces));
    world.put(
        &CONFIG_MAP,
        json!({"metadata": {"name": "m", "finalizers": ["mine"]}}),
    );
    step(&mut one, &mut world);
    assert!(world.caches.contents.contains_key("a"));
    let second = json!({"metadata": {"name": "a", "uid": "uid-second", "deletionTimestamp": ago(1)}, "spec": {"finalizers": ["kubernetes"]}});
    world.vanish(&(Kind::NAMESPACE, ObjectKey::cluster("a")));
    world.put(&Kind::NAMESPACE, second);
    scene::check(Namespaces, "a", &world, "look Content { namespace: \"a\" }");
}
