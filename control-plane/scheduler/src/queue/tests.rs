//! Who is next, and whom events wake.

use serde_json::{Value, json};

use super::*;
use crate::scene::{node, pod, with};

type Clock = Duration;

const NOW: Clock = Duration::ZERO;

fn at(seconds: u64) -> Clock {
    Duration::from_secs(seconds)
}

fn plain(uid: &str, priority: i32) -> Arc<Pod> {
    pod(uid, uid, "1", json!({"spec": {"priority": priority}}))
}

fn taken(queue: &mut Queue<Clock>) -> Vec<String> {
    let pods = std::iter::from_fn(|| queue.take());
    pods.filter_map(|pod| pod.metadata.uid.clone()).collect()
}

/// A queue in which a pod waits that no node of a snapshot could take.
fn refused(pod: &Arc<Pod>, snapshot: &mut Snapshot) -> Queue<Clock> {
    let mut queue = Queue::default();
    queue.put(Arc::clone(pod));
    queue.take();
    let request = snapshot.request(pod);
    let why = crate::assign(&request, snapshot, 0).unwrap_err();
    assert!(queue.refuse(request, why.plugins, &why.to_string(), NOW));
    queue
}

/// Whether an event wakes the pod, however long it has waited.
fn wakes(queue: &mut Queue<Clock>, event: Event, snapshot: &Snapshot) -> bool {
    queue.tell(&[event], snapshot, at(100));
    !taken(queue).is_empty()
}

fn full() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node("n", "1", json!({})));
    snapshot.put_pod("n", plain("a", 0));
    snapshot
}

fn gone(uid: &str, snapshot: &mut Snapshot) -> Event {
    let node = snapshot.place_of(uid).unwrap().to_owned();
    let pod = snapshot.remove_pod(uid).unwrap();
    Event::Gone { pod, node }
}

#[test]
fn higher_priorities_come_first_then_who_came_first() {
    let mut queue: Queue<Clock> = Queue::default();
    let made = |uid: &str, priority, time: &str| {
        pod(
            uid,
            uid,
            "1",
            json!({"metadata": {"creationTimestamp": time}, "spec": {"priority": priority}}),
        )
    };
    queue.put(made("late", 5, "2024-01-01T00:00:02Z"));
    queue.put(made("low", 0, "2024-01-01T00:00:00Z"));
    queue.put(made("early", 5, "2024-01-01T00:00:01Z"));
    assert_eq!(taken(&mut queue), ["early", "late", "low"]);
    assert!(queue.is_idle());
}

#[test]
fn who_was_refused_waits_longer_each_time_and_is_told_of_once() {
    let mut snapshot = full();
    let new = plain("new", 0);
    let mut queue = refused(&new, &mut snapshot);
    let request = snapshot.request(&new);
    let by = crate::assign(&request, &snapshot, 0).unwrap_err().plugins;
    queue.put(Arc::clone(&new));
    assert!(queue.is_idle(), "our own status is no change");
    let mut waits = Vec::new();
    let mut now = NOW;
    for _ in 0..6 {
        queue.tell(&[Event::Other], &snapshot, now);
        assert!(queue.is_idle(), "it has to wait");
        let again = queue.wake_at().unwrap();
        waits.push((again - now).as_secs());
        now = again;
        queue.wake(now);
        assert_eq!(taken(&mut queue), ["new"]);
        assert!(
            !queue.refuse(
                Arc::clone(&request),
                by,
                "0/1 nodes are available: 1 Insufficient cpu.",
                now
            ),
            "no news"
        );
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    assert!(queue.refuse(request, by, "something else", now));
}

#[test]
fn a_changed_spec_is_decided_at_once() {
    let mut snapshot = full();
    let mut queue = refused(&plain("new", 0), &mut snapshot);
    queue.put(pod("new", "new", "100m", json!({})));
    assert_eq!(taken(&mut queue), ["new"]);
}

#[test]
fn room_wakes_only_those_it_is_enough_for() {
    let mut snapshot = full();
    let mut queue = refused(&plain("new", 0), &mut snapshot);
    snapshot.put_node(node("small", "100m", json!({})));
    assert!(!wakes(
        &mut queue,
        Event::Node("small".to_owned()),
        &snapshot
    ));
    let taints = json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}});
    snapshot.put_node(node("tainted", "8", taints));
    assert!(!wakes(
        &mut queue,
        Event::Node("tainted".to_owned()),
        &snapshot
    ));
    let placed = Event::Placed(snapshot.request(&plain("other", 0)));
    assert!(
        !wakes(&mut queue, placed, &snapshot),
        "a pod more helps nobody who lacks room"
    );
    let event = gone("a", &mut snapshot);
    assert!(wakes(&mut queue, event, &snapshot));
}

#[test]
fn pods_wake_those_that_must_be_near_them_and_no_others() {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node("n", "8", json!({})));
    let term = json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
    let near = with(
        "new",
        "web",
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}),
    );
    let mut queue = refused(&near, &mut snapshot);
    let placed = |app: &str, snapshot: &mut Snapshot| {
        let request = snapshot.request(&with(app, app, json!({})));
        snapshot.place("n", Arc::clone(&request));
        Event::Placed(request)
    };
    let event = placed("other", &mut snapshot);
    assert!(!wakes(&mut queue, event, &snapshot));
    let event = placed("db", &mut snapshot);
    assert!(wakes(&mut queue, event, &snapshot));
}

#[test]
fn the_end_of_pods_wakes_those_they_kept_away() {
    let term = |app: &str| json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "kubernetes.io/hostname"}]}}});
    let cases: [(Value, Value); 2] = [(term("old"), json!({})), (json!({}), term("new"))];
    for (own, other) in cases {
        let mut snapshot = Snapshot::default();
        snapshot.put_node(node("n", "8", json!({})));
        snapshot.put_pod("n", with("old", "old", other));
        snapshot.put_pod("n", with("bystander", "bystander", json!({})));
        let mut queue = refused(&with("new", "new", own), &mut snapshot);
        let event = gone("old", &mut snapshot);
        assert!(wakes(&mut queue, event, &snapshot));
    }
}

#[test]
fn pods_and_nodes_wake_those_that_are_to_be_spread() {
    let mut snapshot = Snapshot::default();
    for (name, zone) in [("a", "a"), ("b", "b")] {
        snapshot.put_node(node(
            name,
            if name == "b" { "0" } else { "8" },
            json!({"metadata": {"labels": {"zone": zone}}}),
        ));
    }
    let web = |uid: &str| {
        with(
            uid,
            "web",
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}),
        )
    };
    snapshot.put_pod("a", web("1"));
    let mut queue = refused(&web("2"), &mut snapshot);
    let other = Event::Placed(snapshot.request(&with("x", "x", json!({}))));
    assert!(!wakes(&mut queue, other, &snapshot));
    let event = gone("1", &mut snapshot);
    assert!(wakes(&mut queue, event, &snapshot));
}

#[test]
fn without_nodes_only_a_node_helps() {
    let mut snapshot = Snapshot::default();
    let mut queue = refused(&plain("new", 0), &mut snapshot);
    let placed = Event::Placed(snapshot.request(&plain("x", 0)));
    assert!(!wakes(&mut queue, placed, &snapshot));
    snapshot.put_node(node("n", "8", json!({})));
    assert!(wakes(&mut queue, Event::Node("n".to_owned()), &snapshot));
}

#[test]
fn what_no_event_told_of_is_looked_at_now_and_then() {
    let mut snapshot = full();
    let mut queue = refused(&plain("new", 0), &mut snapshot);
    assert_eq!(queue.counts()["unschedulable"], 1);
    queue.flush();
    assert_eq!(taken(&mut queue), ["new"]);
}

#[test]
fn who_could_not_be_bound_comes_again_in_time() {
    let mut queue: Queue<Clock> = Queue::default();
    queue.put(plain("a", 0));
    queue.take();
    queue.later("a", at(1));
    queue.wake(NOW);
    assert!(queue.is_idle());
    assert_eq!(queue.wake_at(), Some(at(1)));
    queue.wake(at(1));
    assert_eq!(taken(&mut queue), ["a"]);
    queue.later("a", at(3));
    queue.remove("a");
    assert_eq!((queue.len(), queue.wake_at()), (0, None));
}
