//! How many replicas autoscalers ask for.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    Autoscalers,
    metrics::{Sample, Usage},
};
use crate::{
    kind::Kind,
    model::{
        World, ago,
        reconcile::{Loop, Much},
        scene::{self, pod, with},
    },
};

/// An autoscaler that wants half of the 100 thousandths that each pod requests to be used.
fn scaler(more: Value) -> Value {
    let scaler = json!({"metadata": {"name": "web", "uid": "uid-web"}, "spec": {"minReplicas": 1, "maxReplicas": 10,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}});
    with(scaler, json!({ "spec": more }))
}

/// A world with a Deployment whose pods use so many thousandths of a core each; `-` was not measured.
fn world(scaler: Value, replicas: i64, usage: &str) -> World {
    let mut world = World::default();
    world.put(&Kind::AUTOSCALER, scaler);
    world.put(&Kind::DEPLOYMENT, json!({"metadata": {"name": "web", "uid": "uid-deploy"}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {}}, "status": {"replicas": replicas}}));
    for n in 0..usage.split_whitespace().count() {
        world.put(
            &Kind::POD,
            pod(&format!("p{n}"), "ready", json!({"app": "web"}), json!([])),
        );
    }
    measure(&mut world, usage);
    world
}

fn measure(world: &mut World, usage: &str) {
    let measured = usage.split_whitespace().enumerate();
    let samples: Vec<_> = measured
        .filter_map(|(n, millis)| {
            let usage = Usage {
                cpu_millis: millis.parse().ok()?,
                memory_bytes: 100 << 20,
            };
            let sample = Sample {
                time: world.now,
                window: SignedDuration::from_secs(15),
                containers: [("main".to_owned(), usage)].into(),
            };
            let key = coracle_api::names::ObjectKey::namespaced("a", format!("p{n}"));
            Some((key, sample))
        })
        .collect();
    world.caches.metrics.replace("a", samples);
}

/// What one look makes of the Deployment's replicas.
fn scaled(scaler: Value, replicas: i64, usage: &str) -> i64 {
    look(
        &mut Loop::new(Box::new(Autoscalers)),
        &mut world(scaler, replicas, usage),
    )
}

fn look(one: &mut Loop, world: &mut World) -> i64 {
    let key = coracle_api::names::ObjectKey::namespaced("a", "web");
    let plan = one.plan(&key, &world.caches, world.now);
    one.carry_out(&key, plan, Much::All, world, &mut |_, _| {});
    world.all(&Kind::DEPLOYMENT).next().unwrap()["spec"]["replicas"]
        .as_i64()
        .unwrap()
}

fn condition(scaler: Value, replicas: i64, usage: &str, of: &str) -> String {
    let planned = scene::planned(Autoscalers, "a/web", &world(scaler, replicas, usage));
    let words = planned.split_whitespace();
    let mut found = words.filter_map(|word| word.strip_prefix(&format!("{of}=")));
    found.next_back().unwrap_or("not said").to_owned()
}

#[test]
fn replicas_follow_use() {
    assert_eq!(scaled(scaler(json!({})), 2, "100 100"), 4);
    assert_eq!(scaled(scaler(json!({})), 4, "20 20 20 20"), 2);
    assert_eq!(scaled(scaler(json!({})), 2, "60 61"), 3, "rounded up");
}

#[test]
fn small_differences_are_tolerated() {
    assert_eq!(scaled(scaler(json!({})), 2, "55 55"), 2);
    assert_eq!(scaled(scaler(json!({})), 2, "45 45"), 2);
    let exact = json!({"behavior": {"scaleUp": {"tolerance": "0.01"}}});
    assert_eq!(scaled(scaler(exact), 2, "52 52"), 3);
}

#[test]
fn minimum_and_maximum_bound_everything() {
    assert_eq!(scaled(scaler(json!({"maxReplicas": 3})), 2, "100 100"), 3);
    assert_eq!(
        condition(
            scaler(json!({"maxReplicas": 3})),
            2,
            "100 100",
            "ScalingLimited"
        ),
        "True(TooManyReplicas)"
    );
    assert_eq!(scaled(scaler(json!({"minReplicas": 2})), 3, "0 0 0"), 2);
    assert_eq!(
        scaled(scaler(json!({"maxReplicas": 3})), 5, "50 50 50 50 50"),
        3
    );
    assert_eq!(scaled(scaler(json!({"minReplicas": 4})), 2, "50 50"), 4);
    assert_eq!(scaled(scaler(json!({})), 0, ""), 0, "zero means off");
    assert_eq!(
        condition(scaler(json!({})), 0, "", "ScalingActive"),
        "False(ScalingDisabled)"
    );
}

#[test]
fn unmeasured_pods_damp_and_never_cause_a_change() {
    // Up: the missing one counts as idle.
    assert_eq!(scaled(scaler(json!({})), 3, "100 100 -"), 4);
    assert_eq!(scaled(scaler(json!({})), 3, "75 75 -"), 3);
    // Down: it counts as busy.
    assert_eq!(scaled(scaler(json!({})), 3, "10 10 -"), 3);
    assert_eq!(scaled(scaler(json!({})), 2, "- -"), 2);
    assert_eq!(
        condition(scaler(json!({})), 2, "- -", "ScalingActive"),
        "False(FailedGetResourceMetric)"
    );
}

#[test]
fn pods_that_start_count_as_idle() {
    let mut world = world(scaler(json!({})), 2, "100 100");
    let starting = json!({"status": {"startTime": ago(20), "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": ago(20)}]}});
    world.put(
        &Kind::POD,
        with(
            pod("p1", "running", json!({"app": "web"}), json!([])),
            starting,
        ),
    );
    assert_eq!(look(&mut Loop::new(Box::new(Autoscalers)), &mut world), 2);
}

fn two_metrics(second: Value) -> Value {
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    scaler(json!({"metrics": [cpu, second]}))
}

#[test]
fn of_several_metrics_the_one_that_asks_for_most_counts() {
    let memory = |value: &str| json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": value}}});
    assert_eq!(scaled(two_metrics(memory("50Mi")), 2, "50 50"), 4);
    assert_eq!(scaled(two_metrics(memory("200Mi")), 2, "100 100"), 4);
}

/// A metric that is not known might ask for more: there may be more but not fewer, and what there is may stay.
#[test]
fn an_unknown_metric_forbids_fewer_but_not_as_many_or_more() {
    let unknown = || json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "1"}}});
    assert_eq!(scaled(two_metrics(unknown()), 2, "100 100"), 4);
    assert_eq!(scaled(two_metrics(unknown()), 4, "10 10 10 10"), 4);
    assert_eq!(
        condition(two_metrics(unknown()), 4, "10 10 10 10", "ScalingActive"),
        "False(InvalidMetricSourceType)"
    );
    assert_eq!(
        condition(two_metrics(unknown()), 2, "50 50", "ScalingActive"),
        "True(ValidMetricFound)"
    );
}

#[test]
fn containers_can_be_measured_alone() {
    let metric = json!({"metrics": [{"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "main", "target": {"type": "Utilization", "averageUtilization": 50}}}]});
    assert_eq!(scaled(scaler(metric), 1, "150"), 3);
}

#[test]
fn policies_bound_how_fast_it_goes() {
    let up = |policies: Value, select: &str| {
        scaler(json!({"behavior": {"scaleUp": {"selectPolicy": select, "policies": policies}}}))
    };
    let pods = json!({"type": "Pods", "value": 2, "periodSeconds": 60});
    let percent = json!({"type": "Percent", "value": 50, "periodSeconds": 60});
    let busy = "500 500";
    assert_eq!(scaled(up(json!([pods]), "Max"), 2, busy), 4);
    assert_eq!(scaled(up(json!([percent]), "Max"), 2, busy), 3);
    assert_eq!(scaled(up(json!([pods, percent]), "Max"), 2, busy), 4);
    assert_eq!(scaled(up(json!([pods, percent]), "Min"), 2, busy), 3);
    assert_eq!(scaled(up(json!([pods]), "Disabled"), 2, busy), 2);
    assert_eq!(
        condition(up(json!([pods]), "Max"), 2, busy, "ScalingLimited"),
        "True(ScaleUpLimit)"
    );
    // Upstream's default: double, or four.
    assert_eq!(scaled(scaler(json!({})), 2, busy), 6);
    let down = scaler(
        json!({"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}}),
    );
    assert_eq!(scaled(down, 4, "0 0 0 0"), 3);
}

#[test]
fn what_was_done_in_the_period_counts_against_the_policy() {
    let slow = scaler(
        json!({"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}}),
    );
    let mut world = world(slow, 2, "500 500");
    let mut one = Loop::new(Box::new(Autoscalers));
    assert_eq!(look(&mut one, &mut world), 4);
    world.wait(30);
    measure(&mut world, "500 500");
    assert_eq!(look(&mut one, &mut world), 4);
    world.wait(30);
    measure(&mut world, "500 500");
    assert_eq!(look(&mut one, &mut world), 6);
}

#[test]
fn a_wish_for_fewer_must_last() {
    let calm = scaler(json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}}}));
    let mut world = world(calm, 4, "50 50 50 50");
    let mut one = Loop::new(Box::new(Autoscalers));
    assert_eq!(look(&mut one, &mut world), 4);
    for _ in 0..9 {
        world.wait(30);
        measure(&mut world, "5 5 5 5");
        assert_eq!(look(&mut one, &mut world), 4);
    }
    world.wait(30);
    measure(&mut world, "5 5 5 5");
    assert_eq!(look(&mut one, &mut world), 1);
}

/// After a restart nothing is known of former recommendations: a single quiet moment scaled down at once.
#[test]
fn a_controller_that_has_just_started_does_not_scale_down_at_once() {
    let calm = scaler(json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}}}));
    let mut world = world(calm, 4, "5 5 5 5");
    let mut one = Loop::new(Box::new(Autoscalers));
    assert_eq!(look(&mut one, &mut world), 4);
    world.wait(300);
    measure(&mut world, "5 5 5 5");
    assert_eq!(look(&mut one, &mut world), 1);
}

#[test]
fn a_target_that_is_not_there_is_told_of() {
    let missing = scaler(json!({"scaleTargetRef": {"name": "nothing"}}));
    assert_eq!(
        condition(missing, 1, "50", "AbleToScale"),
        "False(FailedGetScale)"
    );
}

#[test]
fn it_looks_when_its_spec_changes_and_not_when_its_status_does() {
    let mut world = world(scaler(json!({})), 1, "50");
    let mut one = Loop::new(Box::new(Autoscalers));
    one.listen(&mut world);
    assert_eq!(
        one.queue.pop_first().map(|key| key.name),
        Some("web".to_owned())
    );
    let place = (
        Kind::AUTOSCALER,
        coracle_api::names::ObjectKey::namespaced("a", "web"),
    );
    world.edit(&place, &json!({"status": {"desiredReplicas": 3}}));
    one.listen(&mut world);
    assert!(one.queue.is_empty(), "{}", one.controller.name());
    world.edit(&place, &json!({"spec": {"maxReplicas": 3}}));
    one.listen(&mut world);
    assert!(!one.queue.is_empty());
}
