//! Jobs at work while their pods succeed and fail at random and the controller is stopped in the middle of plans: every pod is counted once, there are never
//! more than may run at once, and in the end it is what the pods made of it.

use coracle_api::names::ObjectKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::named;
use crate::{
    kind::Kind,
    model::{
        Place, World,
        reconcile::{Loop, Much},
        tape::Tape,
    },
};

fn place() -> Place {
    (Kind::JOB, ObjectKey::namespaced("a", "work"))
}

fn job(parallelism: i64, completions: Option<i64>, indexed: bool) -> Value {
    let labels = json!({"batch.kubernetes.io/controller-uid": "uid-job", "batch.kubernetes.io/job-name": "work"});
    json!({"metadata": {"name": "work", "uid": "uid-job"}, "spec": {"parallelism": parallelism, "completions": completions, "backoffLimit": 1000, "suspend": false,
        "completionMode": if indexed { "Indexed" } else { "NonIndexed" }, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "uid-job"}},
        "template": {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "v1"}]}}}})
}

/// How the pods ended.
#[derive(Default)]
struct Ends {
    succeeded: i64,
    failed: i64,
}

fn runs(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str();
    pod["metadata"]["deletionTimestamp"].is_null() && matches!(phase, Some("Pending" | "Running"))
}

/// A pod ends, or one that is to end has.
fn node(world: &mut World, tape: &mut Tape, ends: &mut Ends) -> bool {
    let waiting: Vec<(Place, bool)> = world
        .objects()
        .filter(|((kind, _), _)| *kind == Kind::POD)
        .filter(|(_, pod)| runs(pod) || pod["metadata"]["deletionTimestamp"].is_string())
        .map(|(place, pod)| (place.clone(), runs(pod)))
        .collect();
    if waiting.is_empty() {
        return false;
    }
    let (place, runs) = tape.of(&waiting);
    if !runs {
        let patch = json!({"metadata": {"deletionGracePeriodSeconds": 0}});
        world.edit(&place, &patch);
        return true;
    }
    let fails = tape.one_in(3);
    let phase = if fails { "Failed" } else { "Succeeded" };
    let (succeeded, failed) = if fails { (0, 1) } else { (1, 0) };
    ends.succeeded += succeeded;
    ends.failed += failed;
    let at = world.now.to_string();
    let state = json!([{"name": "main", "state": {"terminated": {"exitCode": failed, "finishedAt": at}}, "ready": false, "restartCount": 0, "image": "v1", "imageID": ""}]);
    world.edit(&place, &json!({"spec": {"nodeName": "n1"}, "status": {"phase": phase, "containerStatuses": state}}));
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pod_is_counted_once(
        parallelism in 1_i64..4, completions in prop::option::of(1_i64..7), indexed in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let completions = if indexed { completions.or(Some(2)) } else { completions };
        let mut tape = Tape::new(bytes);
        let mut world = World::default();
        world.put(&Kind::JOB, job(parallelism, completions, indexed));
        let mut one = Loop::new(named("job-controller"));
        let mut ends = Ends::default();
        let is_bounded = |world: &World| {
            let running = world.all(&Kind::POD).filter(|pod| runs(pod)).count();
            i64::try_from(running).unwrap() <= parallelism
        };
        for _ in 0..3000 {
            one.listen(&mut world);
            if one.queue.is_empty() || tape.one_in(3) {
                if !node(&mut world, &mut tape, &mut ends) && one.queue.is_empty() {
                    match one.next_time() {
                        Some(at) => world.now = at,
                        None => break,
                    }
                }
                continue;
            }
            let key = one.queue.pop_first().unwrap();
            let plan = one.plan(&key, &world.caches, world.now);
            let much = if tape.one_in(3) { Much::Steps(tape.below(4)) } else { Much::All };
            let mut within = true;
            one.carry_out(&key, plan, much, &mut world, &mut |_, world| within &= is_bounded(world));
            prop_assert!(within, "more than {parallelism} at once");
        }
        let object = world.get(&place().0, &place().1).unwrap();
        let status = &object["status"];
        let is_complete = status["conditions"].as_array().into_iter().flatten().any(|one| one["type"] == "Complete" && one["status"] == "True");
        prop_assert!(is_complete, "{status:#}");
        let n = |field: &str| status[field].as_i64().unwrap_or(0);
        prop_assert_eq!(n("failed"), ends.failed);
        prop_assert_eq!(n("active") + n("terminating"), 0);
        prop_assert_eq!(n("succeeded"), completions.unwrap_or(ends.succeeded));
        if indexed {
            let all: Vec<String> = (0..completions.unwrap()).map(|n| n.to_string()).collect();
            let all = match all.len() {
                1 | 2 => all.join(","),
                n => format!("0-{}", n - 1),
            };
            prop_assert_eq!(&status["completedIndexes"], &all);
        }
        let held = world.all(&Kind::POD).filter(|pod| pod["metadata"]["finalizers"].is_array());
        prop_assert_eq!(held.count(), 0);
    }
}
