//! What Deployments do with their ReplicaSets.

use coracle_api::names::ObjectKey;
use serde_json::{Value, json};

use super::{Deployments, revision};
use crate::{
    kind::Kind,
    model::{
        World, ago,
        scene::{self, controlled_by, pod, with},
    },
};

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image}]}})
}

fn deployment(replicas: i64, image: &str) -> Value {
    json!({"metadata": {"name": "web", "uid": "uid-web", "annotations": {"deployment.kubernetes.io/revision": "2", "why": "fix"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image), "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}})
}

/// A set of the Deployment: its replicas, how many of them are available, its revision, and of how many it was a part.
fn set(name: &str, image: &str, replicas: i64, available: i64, rev: i64, of: i64) -> Value {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = json!(name);
    json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "labels": template["metadata"]["labels"], "ownerReferences": controlled_by(&Kind::DEPLOYMENT, "web"),
            "creationTimestamp": ago(1000 - 100 * rev),
            "annotations": {"deployment.kubernetes.io/revision": rev.to_string(), "why": "fix", "deployment.kubernetes.io/desired-replicas": of.to_string(), "deployment.kubernetes.io/max-replicas": (of + 1).to_string()}},
        "spec": {"replicas": replicas, "minReadySeconds": 0, "selector": {"matchLabels": {"app": "web", "pod-template-hash": name}}, "template": template},
        "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1}})
}

fn world(deployment: Value, sets: Vec<Value>) -> World {
    let mut world = World::default();
    world.put(&Kind::DEPLOYMENT, deployment);
    for set in sets {
        world.put(&Kind::REPLICA_SET, set);
    }
    world
}

/// What it does to its sets; what it says of itself apart.
#[track_caller]
fn check(world: &World, expected: &[&str]) {
    let planned = scene::planned(Deployments, "a/web", world);
    let done: Vec<&str> = planned
        .lines()
        .filter(|line| !line.starts_with("status") && !line.starts_with("again"))
        .collect();
    assert_eq!(done, expected, "planned:\n{planned}");
}

/// The condition `Progressing` that it says it has.
fn progressing(world: &World) -> String {
    let planned = scene::planned(Deployments, "a/web", world);
    let words = planned.split_whitespace();
    let mut found = words.filter_map(|word| word.strip_prefix("Progressing="));
    found.next_back().unwrap_or("as it was").to_owned()
}

fn is_progressing(reason: &str, seconds: i64) -> Value {
    let status = if reason == "ProgressDeadlineExceeded" {
        "False"
    } else {
        "True"
    };
    json!({"status": {"observedGeneration": 1, "conditions": [{"type": "Progressing", "status": status, "reason": reason, "message": "", "lastUpdateTime": ago(seconds), "lastTransitionTime": ago(seconds)}]}})
}

#[test]
fn the_first_set_gets_all_replicas_and_revision_one() {
    let fresh = with(
        deployment(3, "v1"),
        json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": null}}}),
    );
    let world = world(fresh, vec![]);
    let planned = scene::planned(Deployments, "a/web", &world);
    let name = planned
        .lines()
        .next()
        .unwrap()
        .strip_prefix("create ReplicaSet ")
        .unwrap();
    let read: k8s_openapi::api::apps::v1::Deployment =
        serde_json::from_value(deployment(3, "v1")).unwrap();
    assert_eq!(name, revision::set_name(&read).0);
}

#[test]
fn a_rollout_goes_step_by_step() {
    let roll = |new: (i64, i64), old: (i64, i64)| {
        world(
            deployment(4, "v2"),
            vec![
                set("web-1", "v1", old.0, old.1, 1, 4),
                set("web-2", "v2", new.0, new.1, 2, 4),
            ],
        )
    };
    check(
        &roll((0, 0), (4, 4)),
        &["patch ReplicaSet web-2 spec:(replicas=1)"],
    );
    check(
        &roll((1, 0), (4, 4)),
        &["patch ReplicaSet web-1 spec:(replicas=3)"],
    );
    check(
        &roll((1, 1), (3, 3)),
        &["patch ReplicaSet web-2 spec:(replicas=2)"],
    );
    check(
        &roll((2, 1), (3, 3)),
        &["patch ReplicaSet web-1 spec:(replicas=2)"],
    );
    check(
        &roll((3, 3), (2, 2)),
        &["patch ReplicaSet web-1 spec:(replicas=0)"],
    );
    check(&roll((4, 4), (0, 0)), &[]);
}

#[test]
fn old_pods_that_do_not_serve_go_before_new_ones_do() {
    let stuck = world(
        with(
            deployment(4, "v3"),
            json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "3"}}}),
        ),
        vec![
            set("web-1", "v1", 3, 3, 1, 4),
            set("web-2", "v2", 1, 0, 2, 4),
            set("web-3", "v3", 1, 0, 3, 4),
        ],
    );
    check(&stuck, &["patch ReplicaSet web-2 spec:(replicas=0)"]);
}

/// A ReplicaSet's status is older than its spec: the pods that it is about to end counted as available, so that more were ended than allowed.
#[test]
fn available_pods_that_are_about_to_end_do_not_count() {
    let late = world(
        with(
            deployment(5, "v2"),
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}}}),
        ),
        vec![
            set("web-1", "v1", 4, 5, 1, 5),
            set("web-2", "v2", 2, 1, 2, 5),
        ],
    );
    check(&late, &["patch ReplicaSet web-1 spec:(replicas=3)"]);
}

/// A set that shrank and grew again told of pods that had ended since, so that more were ended elsewhere than allowed.
#[test]
fn nothing_shrinks_before_a_resized_set_has_told_how_it_is() {
    let resized = |generation: i64| {
        let new = with(
            set("web-2", "v2", 2, 2, 2, 4),
            json!({"metadata": {"generation": generation}}),
        );
        world(
            deployment(4, "v2"),
            vec![set("web-1", "v1", 3, 3, 1, 4), new],
        )
    };
    check(&resized(1), &["patch ReplicaSet web-1 spec:(replicas=1)"]);
    check(&resized(2), &[]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let scaled = world(
        with(
            deployment(10, "v2"),
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}}),
        ),
        vec![
            with(
                set("web-1", "v1", 4, 4, 1, 5),
                json!({"metadata": {"annotations": {"deployment.kubernetes.io/max-replicas": "6"}}}),
            ),
            with(
                set("web-2", "v2", 2, 2, 2, 5),
                json!({"metadata": {"annotations": {"deployment.kubernetes.io/max-replicas": "6"}}}),
            ),
        ],
    );
    // 13 pods in the proportion 4 to 2: 8.7 and 4.3.
    check(
        &scaled,
        &[
            "patch ReplicaSet web-2 metadata:(annotations:(deployment.kubernetes.io/desired-replicas=10 deployment.kubernetes.io/max-replicas=13)) spec:(replicas=4)",
            "patch ReplicaSet web-1 metadata:(annotations:(deployment.kubernetes.io/desired-replicas=10 deployment.kubernetes.io/max-replicas=13)) spec:(replicas=9)",
        ],
    );
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let paused = |replicas, image| {
        world(
            with(
                deployment(replicas, image),
                json!({"spec": {"paused": true}}),
            ),
            vec![set("web-1", "v1", 4, 4, 1, 4)],
        )
    };
    check(&paused(4, "v2"), &[]);
    let scaled = "patch ReplicaSet web-1 metadata:(annotations:(deployment.kubernetes.io/desired-replicas=6 deployment.kubernetes.io/max-replicas=7)) spec:(replicas=6)";
    check(&paused(6, "v2"), &[scaled]);
    assert_eq!(progressing(&paused(4, "v2")), "Unknown(DeploymentPaused)");
}

#[test]
fn recreating_waits_until_the_last_old_pod_is_gone() {
    let recreate = json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}});
    let old = |replicas| set("web-1", "v1", replicas, replicas, 1, 2);
    let mut world = world(with(deployment(2, "v2"), recreate.clone()), vec![old(2)]);
    check(
        &world,
        &[
            "patch ReplicaSet web-1 metadata:(annotations:(deployment.kubernetes.io/max-replicas=2)) spec:(replicas=0)",
        ],
    );
    let of_old = controlled_by(&Kind::REPLICA_SET, "web-1");
    world = self::world(with(deployment(2, "v2"), recreate), vec![old(0)]);
    world.put(
        &Kind::POD,
        pod("p", "running-ending", json!({"app": "web"}), of_old),
    );
    check(&world, &[]);
    world.vanish(&(Kind::POD, ObjectKey::namespaced("a", "p")));
    let planned = scene::planned(Deployments, "a/web", &world);
    assert!(planned.starts_with("create ReplicaSet web-"), "{planned}");
}

#[test]
fn going_back_makes_the_old_set_the_newest_revision() {
    let undone = world(
        deployment(2, "v1"),
        vec![
            set("web-1", "v1", 0, 0, 1, 2),
            set("web-2", "v2", 2, 2, 2, 2),
        ],
    );
    check(
        &undone,
        &[
            "patch ReplicaSet web-1 metadata:(annotations:(deployment.kubernetes.io/revision=3 deployment.kubernetes.io/revision-history=1)) spec:(replicas=1)",
        ],
    );
}

#[test]
fn history_is_as_long_as_it_may_be() {
    let limited = |limit: i64| {
        world(
            with(
                deployment(2, "v4"),
                json!({"spec": {"revisionHistoryLimit": limit}, "metadata": {"annotations": {"deployment.kubernetes.io/revision": "4"}}}),
            ),
            vec![
                set("web-1", "v1", 0, 0, 1, 2),
                set("web-2", "v2", 0, 0, 2, 2),
                set("web-3", "v3", 0, 0, 3, 2),
                set("web-4", "v4", 2, 2, 4, 2),
            ],
        )
    };
    check(&limited(10), &[]);
    check(
        &limited(1),
        &["delete ReplicaSet web-1", "delete ReplicaSet web-2"],
    );
    check(
        &limited(0),
        &[
            "delete ReplicaSet web-1",
            "delete ReplicaSet web-2",
            "delete ReplicaSet web-3",
        ],
    );
}

#[test]
fn progress_is_told_and_its_lack_noticed() {
    let rollout = |available: i64, condition: Value| {
        let mut deployment = with(deployment(3, "v2"), condition);
        deployment["status"]["replicas"] = json!(4);
        deployment["status"]["updatedReplicas"] = json!(1);
        deployment["status"]["readyReplicas"] = json!(3);
        deployment["status"]["availableReplicas"] = json!(3);
        deployment["status"]["terminatingReplicas"] = json!(0);
        world(
            deployment,
            vec![
                set("web-1", "v1", 3, 3, 1, 3),
                set("web-2", "v2", 1, available, 2, 3),
            ],
        )
    };
    let since = |seconds| is_progressing("ReplicaSetUpdated", seconds);
    assert_eq!(
        progressing(&rollout(0, since(500))),
        "True(ReplicaSetUpdated)"
    );
    let planned = scene::planned(Deployments, "a/web", &rollout(0, since(500)));
    assert!(planned.contains("again in 100 s"), "{planned}");
    assert_eq!(
        progressing(&rollout(0, since(600))),
        "False(ProgressDeadlineExceeded)"
    );
    assert_eq!(
        progressing(&rollout(1, since(500))),
        "True(ReplicaSetUpdated)"
    );
    let late = is_progressing("ProgressDeadlineExceeded", 50);
    assert_eq!(progressing(&rollout(1, late)), "True(ReplicaSetUpdated)");
    let complete = world(
        with(deployment(3, "v2"), since(500)),
        vec![set("web-2", "v2", 3, 3, 2, 3)],
    );
    assert_eq!(progressing(&complete), "True(NewReplicaSetAvailable)");
}

#[test]
fn what_keeps_a_set_from_making_pods_is_the_deployments_trouble() {
    let failing = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]}});
    let world = world(
        deployment(2, "v2"),
        vec![with(set("web-2", "v2", 2, 0, 2, 2), failing)],
    );
    let planned = scene::planned(Deployments, "a/web", &world);
    assert!(
        planned.contains("ReplicaFailure=True(FailedCreate)"),
        "{planned}"
    );
}

#[test]
fn a_taken_name_makes_another_hash() {
    let read: k8s_openapi::api::apps::v1::Deployment =
        serde_json::from_value(deployment(1, "v2")).unwrap();
    let (name, _) = revision::set_name(&read);
    let stranger = json!({"metadata": {"name": name, "ownerReferences": controlled_by(&Kind::DEPLOYMENT, "other")}});
    let world = world(
        deployment(1, "v2"),
        vec![with(set("x", "v9", 0, 0, 0, 1), stranger)],
    );
    let planned = scene::planned(Deployments, "a/web", &world);
    assert!(planned.contains("collisionCount=1"), "{planned}");
    assert!(!planned.contains("create"), "{planned}");
}

#[test]
fn a_deployment_that_goes_away_only_tells_its_numbers() {
    let going =
        json!({"metadata": {"deletionTimestamp": ago(1), "finalizers": ["foregroundDeletion"]}});
    let world = world(
        with(deployment(3, "v2"), going),
        vec![set("web-1", "v1", 3, 3, 1, 3)],
    );
    check(&world, &[]);
}
