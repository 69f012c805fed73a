//! What becomes of nodes that fall silent, and of the pods on them.

use coracle_api::names::ObjectKey;
use serde_json::{Value, json};

use super::{Settings, eviction::TaintEviction, heartbeat::NodeHealth, orphans::PodOrphans};
use crate::{
    kind::Kind,
    model::{
        World, ago,
        reconcile::Loop,
        scene::{self, pod, with},
    },
};

fn node(name: &str, ready: &str, more: Value) -> Value {
    let node = json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady", "lastHeartbeatTime": ago(5), "lastTransitionTime": ago(500)}]}});
    with(node, more)
}

fn world(nodes: Vec<Value>) -> World {
    let mut world = World::default();
    for node in nodes {
        world.put(&Kind::NODE, node);
    }
    world
}

fn health() -> NodeHealth {
    NodeHealth {
        settings: Settings::default(),
    }
}

fn renew(world: &mut World, name: &str) {
    let lease = json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": world.now.to_string()}});
    world.put(&Kind::LEASE, lease);
}

fn run(one: &mut Loop, world: &mut World) {
    while one.step(world, &mut |_, _| {}) {}
}

fn get<'a>(world: &'a World, kind: &Kind, name: &str) -> &'a Value {
    let key = match kind.namespaced {
        true => ObjectKey::namespaced("a", name),
        false => ObjectKey::cluster(name),
    };
    world.get(kind, &key).unwrap()
}

fn taints(world: &World, name: &str) -> Vec<String> {
    let taints = get(world, &Kind::NODE, name)["spec"]["taints"].as_array();
    let words = |one: &Value| {
        let key = one["key"].as_str().unwrap();
        let key = key.trim_start_matches("node.kubernetes.io/");
        format!("{key}:{}", one["effect"].as_str().unwrap())
    };
    taints.into_iter().flatten().map(words).collect()
}

#[test]
fn a_node_that_falls_silent_is_unknown_tainted_and_its_pods_are_not_ready() {
    let mut world = world(vec![
        node("n1", "True", json!({})),
        node("n2", "True", json!({})),
    ]);
    world.put(&Kind::POD, pod("p", "ready", json!({}), json!([])));
    renew(&mut world, "n1");
    renew(&mut world, "n2");
    let mut one = Loop::new(Box::new(health()));
    run(&mut one, &mut world);
    for _ in 0..4 {
        world.wait(10);
        renew(&mut world, "n2");
        run(&mut one, &mut world);
    }
    let condition = &get(&world, &Kind::NODE, "n1")["status"]["conditions"][0];
    assert_eq!(condition["status"], "Unknown");
    assert_eq!(condition["reason"], "NodeStatusUnknown");
    assert_eq!(
        taints(&world, "n1"),
        ["unreachable:NoSchedule", "unreachable:NoExecute"]
    );
    assert_eq!(taints(&world, "n2"), [""; 0]);
    let pod = &get(&world, &Kind::POD, "p")["status"]["conditions"][0];
    assert_eq!(pod["status"], "False");
    // It comes back: its own word counts again.
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": world.now.to_string()}]}});
    world.edit(&(Kind::NODE, ObjectKey::cluster("n1")), &ready);
    run(&mut one, &mut world);
    assert_eq!(taints(&world, "n1"), [""; 0]);
}

#[test]
fn what_a_nodes_clock_says_does_not_matter() {
    let future = json!({"metadata": {"name": "n1", "namespace": "kube-node-lease"}, "spec": {"renewTime": "2099-01-01T00:00:00Z"}});
    let mut world = world(vec![node("n1", "True", json!({}))]);
    world.put(&Kind::LEASE, future);
    let mut one = Loop::new(Box::new(health()));
    run(&mut one, &mut world);
    world.wait(40);
    run(&mut one, &mut world);
    assert_eq!(
        get(&world, &Kind::NODE, "n1")["status"]["conditions"][0]["status"],
        "Unknown"
    );
}

#[test]
fn no_pods_are_evicted_where_no_node_is_ready() {
    let mut alone = world(vec![
        node("n1", "False", json!({})),
        node("n2", "Unknown", json!({})),
    ]);
    run(&mut Loop::new(Box::new(health())), &mut alone);
    assert_eq!(taints(&alone, "n1"), ["not-ready:NoSchedule"]);
    let mut one = Loop::new(Box::new(health()));
    alone.put(&Kind::NODE, node("n3", "True", json!({})));
    one.listen(&mut alone);
    one.queue.insert(ObjectKey::cluster("n1"));
    run(&mut one, &mut alone);
    assert_eq!(
        taints(&alone, "n1"),
        ["not-ready:NoSchedule", "not-ready:NoExecute"]
    );
}

#[test]
fn pressure_and_cordons_show_as_taints_and_taints_of_others_stay() {
    let more = json!({"spec": {"unschedulable": true, "taints": [{"key": "mine", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "True"}]}});
    let mut world = world(vec![node("n1", "True", more)]);
    run(&mut Loop::new(Box::new(health())), &mut world);
    assert_eq!(
        taints(&world, "n1"),
        [
            "mine:NoSchedule",
            "memory-pressure:NoSchedule",
            "unschedulable:NoSchedule"
        ]
    );
}

#[test]
fn a_node_that_never_spoke_gets_more_time() {
    let mut world = world(vec![node(
        "n1",
        "True",
        json!({"status": {"conditions": []}}),
    )]);
    let mut one = Loop::new(Box::new(health()));
    run(&mut one, &mut world);
    assert_eq!(
        one.next_time().unwrap().duration_since(world.now).as_secs(),
        60
    );
    world.wait(60);
    run(&mut one, &mut world);
    assert_eq!(
        get(&world, &Kind::NODE, "n1")["status"]["conditions"][0]["reason"],
        "NodeStatusNeverUpdated"
    );
}

fn tainted(seconds: i64) -> Value {
    node(
        "n1",
        "False",
        json!({"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": ago(seconds)}]}}),
    )
}

fn tolerating(name: &str, tolerations: Value) -> Value {
    with(
        pod(name, "ready", json!({}), json!([])),
        json!({"spec": {"tolerations": tolerations}}),
    )
}

#[test]
fn pods_leave_when_they_no_longer_tolerate_their_node() {
    let tolerate = |seconds: Value| json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    let mut world = world(vec![tainted(100)]);
    for (name, tolerations) in [
        ("at-once", json!([])),
        (
            "other-effect",
            json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}]),
        ),
        ("over", tolerate(json!(100))),
        ("later", tolerate(json!(300))),
        ("soon", tolerate(json!(130))),
        ("for-ever", tolerate(Value::Null)),
        ("anything", json!([{"operator": "Exists"}])),
    ] {
        world.put(&Kind::POD, tolerating(name, tolerations));
    }
    world.put(
        &Kind::POD,
        pod("gone", "ready-ending", json!({}), json!([])),
    );
    world.put(&Kind::POD, pod("done", "succeeded", json!({}), json!([])));
    let planned = scene::planned(TaintEviction, "n1", &world);
    let deleted: Vec<&str> = planned
        .lines()
        .filter_map(|line| line.strip_prefix("delete Pod "))
        .collect();
    assert_eq!(deleted, ["at-once", "other-effect", "over"]);
    assert!(planned.ends_with("again in 30 s"), "{planned}");
    assert!(
        planned.contains("DisruptionTarget=True(DeletionByTaintManager)"),
        "{planned}"
    );
}

/// As upstream, the first toleration that is about the taint counts, not the shortest of all.
#[test]
fn the_first_toleration_of_a_taint_counts() {
    let both = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}, {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}]);
    let mut world = world(vec![tainted(100)]);
    world.put(&Kind::POD, tolerating("p", both));
    scene::check(TaintEviction, "n1", &world, "");
}

#[test]
fn pods_of_a_node_that_is_no_more_go_after_a_while() {
    let mut world = world(vec![]);
    world.put(&Kind::POD, pod("p", "running", json!({}), json!([])));
    world.put(&Kind::POD, pod("waiting", "pending", json!({}), json!([])));
    let mut one = Loop::new(Box::new(PodOrphans {
        settings: Settings::default(),
    }));
    run(&mut one, &mut world);
    assert_eq!(world.all(&Kind::POD).count(), 2);
    world.wait(40);
    run(&mut one, &mut world);
    let names: Vec<&Value> = world
        .all(&Kind::POD)
        .map(|one| &one["metadata"]["name"])
        .collect();
    assert_eq!(names, ["waiting"]);
}

#[test]
fn a_node_that_comes_back_in_time_keeps_its_pods() {
    let mut world = world(vec![]);
    world.put(&Kind::POD, pod("p", "running", json!({}), json!([])));
    let mut one = Loop::new(Box::new(PodOrphans {
        settings: Settings::default(),
    }));
    run(&mut one, &mut world);
    world.put(&Kind::NODE, node("n1", "True", json!({})));
    world.wait(100);
    run(&mut one, &mut world);
    assert_eq!(world.all(&Kind::POD).count(), 1);
}

#[test]
fn the_oldest_of_too_many_ended_pods_go() {
    let mut world = world(vec![node("n1", "True", json!({}))]);
    for (name, seconds) in [("old", 300), ("older", 500), ("new", 10)] {
        let at = json!({"status": {"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0, "finishedAt": ago(seconds)}}, "ready": false, "restartCount": 0, "image": "", "imageID": ""}]}});
        world.put(
            &Kind::POD,
            with(pod(name, "succeeded", json!({}), json!([])), at),
        );
    }
    let keep_one = PodOrphans {
        settings: Settings {
            ended_pods: 1,
            ..Settings::default()
        },
    };
    scene::check(
        keep_one,
        "*ended*",
        &world,
        "delete Pod older now\ndelete Pod old now",
    );
}

/// A node that says that it is not ready and that its pods are was contradicted at each of its heartbeats.
#[test]
fn what_a_node_says_of_a_pod_after_it_ceased_to_be_ready_is_believed() {
    let since = |seconds| json!({"status": {"conditions": [{"type": "Ready", "status": "False", "lastHeartbeatTime": ago(5), "lastTransitionTime": ago(seconds)}]}});
    let mut world = world(vec![node("n1", "False", since(700))]);
    world.put(&Kind::POD, pod("p", "ready", json!({}), json!([])));
    run(&mut Loop::new(Box::new(health())), &mut world);
    let ready =
        |world: &World| get(world, &Kind::POD, "p")["status"]["conditions"][0]["status"].clone();
    assert_eq!(ready(&world), "True");
    world.edit(&(Kind::NODE, ObjectKey::cluster("n1")), &since(500));
    run(&mut Loop::new(Box::new(health())), &mut world);
    let mut one = Loop::new(Box::new(health()));
    one.queue.insert(ObjectKey::cluster("n1"));
    run(&mut one, &mut world);
    assert_eq!(ready(&world), "False");
}

#[test]
fn a_pod_that_is_kept_by_a_finalizer_is_removed_once() {
    let mut world = world(vec![]);
    world.put(
        &Kind::POD,
        with(
            pod("p", "running", json!({}), json!([])),
            json!({"metadata": {"finalizers": ["mine"]}}),
        ),
    );
    let mut one = Loop::new(Box::new(PodOrphans {
        settings: Settings::default(),
    }));
    run(&mut one, &mut world);
    world.wait(40);
    run(&mut one, &mut world);
    let plan = one
        .plan(&ObjectKey::cluster("n1"), &world.caches, world.now)
        .unwrap();
    assert!(plan.is_empty(), "{plan:?}");
}
