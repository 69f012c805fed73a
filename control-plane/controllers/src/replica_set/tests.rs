//! What ReplicaSets do, and which pods go first.

use serde_json::{Value, json};

use super::ReplicaSets;
use crate::{
    kind::Kind,
    model::{
        World, ago,
        scene::{self, controlled_by, pod, with},
    },
};

/// A world with the set `web` and pods `name:state`, its own.
fn world(replicas: i64, pods: &str) -> World {
    let mut world = World::default();
    world.put(&Kind::REPLICA_SET, set(replicas));
    for one in pods.split_whitespace() {
        let (name, state) = one.split_once(':').unwrap();
        world.put(&Kind::POD, own(name, state));
    }
    world
}

fn set(replicas: i64) -> Value {
    json!({"metadata": {"name": "web", "uid": "uid-web"}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "v1"}]}}},
        "status": {"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 1}})
}

fn own(name: &str, state: &str) -> Value {
    let owner = controlled_by(&Kind::REPLICA_SET, "web");
    pod(name, state, json!({"app": "web"}), owner)
}

#[track_caller]
fn check(world: &World, expected: &str) {
    scene::check(ReplicaSets, "a/web", world, expected);
}

/// Which pods go when one of these must.
#[track_caller]
fn goes_first(pods: Vec<Value>, first: &str) {
    let mut world = World::default();
    let n = i64::try_from(pods.len()).unwrap();
    world.put(&Kind::REPLICA_SET, set(n - 1));
    for pod in pods {
        world.put(&Kind::POD, pod);
    }
    let planned = scene::planned(ReplicaSets, "a/web", &world);
    let deleted: Vec<&str> = planned
        .lines()
        .filter_map(|line| line.strip_prefix("delete Pod "))
        .collect();
    assert_eq!(deleted, [first]);
}

#[test]
fn missing_pods_are_made() {
    check(
        &world(3, "a:ready"),
        "create Pod web-*
         create Pod web-*
         status availableReplicas=1 fullyLabeledReplicas=1 readyReplicas=1 replicas=1",
    );
}

#[test]
fn pods_that_ended_or_are_ending_are_replaced() {
    check(
        &world(2, "a:ready-ending b:failed c:succeeded d:running"),
        "create Pod web-*
         status fullyLabeledReplicas=1 replicas=1 terminatingReplicas=1",
    );
}

#[test]
fn surplus_pods_go_unready_ones_first() {
    check(
        &world(1, "a:ready b:running c:pending"),
        "delete Pod c
         delete Pod b
         status availableReplicas=1 fullyLabeledReplicas=3 readyReplicas=1 replicas=3",
    );
}

#[test]
fn victims_are_chosen_in_upstreams_order() {
    let ready = |name: &str, more: Value| with(own(name, "ready"), more);
    let cost = |cost: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
    let on = |node: &str| json!({"spec": {"nodeName": node}});
    let since = |seconds| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ago(seconds)}]}});
    let restarts = |n: i64| json!({"status": {"containerStatuses": [{"name": "main", "restartCount": n, "ready": true, "image": "", "imageID": ""}]}});
    let made = |seconds| json!({"metadata": {"creationTimestamp": ago(seconds)}});
    // Each pair differs in what the former did not.
    goes_first(vec![own("a", "bound"), own("b", "pending")], "b");
    goes_first(vec![own("a", "running"), own("b", "bound")], "b");
    goes_first(vec![own("a", "ready"), own("b", "running")], "b");
    goes_first(vec![ready("a", cost("5")), ready("b", cost("-5"))], "b");
    goes_first(vec![ready("a", cost("5")), ready("b", json!({}))], "b");
    goes_first(
        vec![
            ready("a", on("n2")),
            ready("b", on("n1")),
            ready("c", on("n1")),
        ],
        "b",
    );
    goes_first(vec![ready("a", since(6000)), ready("b", since(10))], "b");
    goes_first(vec![ready("a", restarts(1)), ready("b", restarts(4))], "b");
    goes_first(vec![ready("a", made(9000)), ready("b", made(20))], "b");
    goes_first(vec![ready("b", json!({})), ready("a", json!({}))], "a");
    // Cost is for pods that serve alike only.
    goes_first(
        vec![with(own("a", "running"), cost("9")), ready("b", cost("-9"))],
        "a",
    );
}

#[test]
fn pods_of_sibling_sets_count_as_doubled_up() {
    let mut world = World::default();
    let owner = controlled_by(&Kind::DEPLOYMENT, "deploy");
    let owned = json!({"metadata": {"ownerReferences": owner}});
    world.put(&Kind::REPLICA_SET, with(set(1), owned.clone()));
    let sibling = json!({"metadata": {"name": "old", "uid": "uid-old"}});
    world.put(&Kind::REPLICA_SET, with(with(set(1), owned), sibling));
    world.put(
        &Kind::POD,
        with(own("a", "ready"), json!({"spec": {"nodeName": "n2"}})),
    );
    world.put(&Kind::POD, own("b", "ready"));
    let other = controlled_by(&Kind::REPLICA_SET, "old");
    world.put(&Kind::POD, pod("z", "ready", json!({"app": "web"}), other));
    check(
        &world,
        "delete Pod b
         status availableReplicas=2 fullyLabeledReplicas=2 readyReplicas=2 replicas=2",
    );
}

#[test]
fn orphans_are_adopted_and_strangers_let_go() {
    let mut world = world(1, "");
    world.put(
        &Kind::POD,
        pod("orphan", "ready", json!({"app": "web"}), json!([])),
    );
    world.put(
        &Kind::POD,
        pod("other", "ready", json!({"app": "db"}), json!([])),
    );
    let owner = controlled_by(&Kind::REPLICA_SET, "web");
    world.put(
        &Kind::POD,
        pod("renamed", "ready", json!({"app": "db"}), owner),
    );
    check(
        &world,
        "patch Pod renamed metadata:(ownerReferences=null)
         adopt Pod orphan for web",
    );
}

#[test]
fn a_set_that_goes_away_neither_makes_nor_adopts() {
    let mut world = World::default();
    let going =
        json!({"metadata": {"deletionTimestamp": ago(1), "finalizers": ["foregroundDeletion"]}});
    world.put(&Kind::REPLICA_SET, with(set(2), going));
    world.put(
        &Kind::POD,
        pod("orphan", "ready", json!({"app": "web"}), json!([])),
    );
    check(&world, "");
}

#[test]
fn a_pod_of_another_namespace_or_owner_is_nobody_elses_business() {
    let mut world = world(0, "");
    let other = controlled_by(&Kind::REPLICA_SET, "other");
    world.put(&Kind::POD, pod("x", "ready", json!({"app": "web"}), other));
    let elsewhere = with(own("y", "ready"), json!({"metadata": {"namespace": "b"}}));
    world.put(&Kind::POD, elsewhere);
    check(&world, "");
}

#[test]
fn availability_waits_for_min_ready_seconds() {
    let mut world = world(1, "");
    let place = (
        Kind::REPLICA_SET,
        coracle_api::names::ObjectKey::namespaced("a", "web"),
    );
    world.edit(&place, &json!({"spec": {"minReadySeconds": 30}}));
    let fresh = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ago(10)}]}});
    world.put(&Kind::POD, with(own("a", "ready"), fresh));
    check(
        &world,
        "status fullyLabeledReplicas=1 observedGeneration=2 readyReplicas=1 replicas=1
         again in 20 s",
    );
    world.wait(20);
    check(
        &world,
        "status availableReplicas=1 fullyLabeledReplicas=1 observedGeneration=2 readyReplicas=1 replicas=1",
    );
}

#[test]
fn no_more_than_a_burst_is_made_at_once() {
    let planned = scene::planned(ReplicaSets, "a/web", &world(1200, ""));
    assert_eq!(planned.matches("create Pod").count(), crate::action::BURST);
}

#[test]
fn what_kept_it_from_making_pods_is_a_condition_and_goes_with_it() {
    use crate::model::reconcile::Loop;
    let mut world = world(1, "");
    world.forbidden.push(Kind::POD);
    let mut one = Loop::new(Box::new(ReplicaSets));
    for _ in 0..3 {
        one.step(&mut world, &mut |_, _| {});
    }
    let reason = |world: &World| {
        world.all(&Kind::REPLICA_SET).next().unwrap()["status"]["conditions"][0]["reason"].clone()
    };
    assert_eq!(reason(&world), "FailedCreate");
    world.forbidden.clear();
    while one.step(&mut world, &mut |_, _| {}) {}
    assert_eq!(reason(&world), json!(null));
    assert_eq!(world.all(&Kind::POD).count(), 1);
}
