//! Deployments and ReplicaSets at work together while nodes start and stop pods at random, and each sees the other's doings late: sets are never sized to
//! more than replicas and surge, there are never fewer available pods than allowed, and in the end all are of the newest template.

use coracle_api::names::ObjectKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::named;
use crate::{
    kind::Kind,
    model::{
        Place, World,
        reconcile::{Loop, Much, listen_all},
        tape::Tape,
    },
};

/// What a rollout must keep to.
struct Bounds {
    replicas: i64,
    surge: i64,
    unavailable: i64,
    recreates: bool,
}

fn deployment(bounds: &Bounds, image: &str) -> Value {
    let strategy = if bounds.recreates {
        json!({"type": "Recreate"})
    } else {
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": bounds.surge, "maxUnavailable": bounds.unavailable}})
    };
    json!({"metadata": {"name": "web"}, "spec": {"replicas": bounds.replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy, "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": 600, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image}]}}}})
}

fn place() -> Place {
    (Kind::DEPLOYMENT, ObjectKey::namespaced("a", "web"))
}

fn is_ending(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

fn is_available(pod: &Value) -> bool {
    !is_ending(pod) && pod["status"]["conditions"][0]["status"] == "True"
}

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap()
}

/// A node does something: starts a pod, finds it ready, or ends it.
fn node(world: &mut World, tape: &mut Tape) -> bool {
    let now = world.now.to_string();
    let waiting: Vec<(Place, bool)> = world
        .objects()
        .filter(|((kind, _), pod)| *kind == Kind::POD && (is_ending(pod) || !is_available(pod)))
        .map(|(place, pod)| (place.clone(), is_ending(pod)))
        .collect();
    if waiting.is_empty() {
        return false;
    }
    let (place, ends) = tape.of(&waiting);
    if ends {
        world.vanish(&place);
    } else {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
        world.edit(&place, &json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running", "conditions": ready}}));
    }
    true
}

fn keeps(bounds: &Bounds, world: &World, was_complete: bool) -> Result<(), TestCaseError> {
    let sizes: i64 = world
        .all(&Kind::REPLICA_SET)
        .map(|set| set["spec"]["replicas"].as_i64().unwrap())
        .sum();
    let most = bounds.replicas + bounds.surge;
    prop_assert!(sizes <= most, "{sizes} of {most} wanted");
    let pods: Vec<&Value> = world.all(&Kind::POD).collect();
    if bounds.recreates {
        let mut images: Vec<&str> = pods.iter().map(|pod| image(pod)).collect();
        images.dedup();
        prop_assert!(images.len() <= 1, "old and new at once: {images:?}");
    } else if was_complete {
        let available = pods.iter().filter(|pod| is_available(pod)).count();
        let least = usize::try_from(bounds.replicas - bounds.unavailable).unwrap();
        prop_assert!(available >= least, "{available} of {least} are available");
    }
    Ok(())
}

/// Lets everybody work until nothing is left to do.
fn run(
    bounds: &Bounds,
    loops: &mut [Loop],
    world: &mut World,
    tape: &mut Tape,
    was_complete: bool,
) -> Result<(), TestCaseError> {
    let mut views: Vec<World> = loops.iter().map(|_| world.clone()).collect();
    for _ in 0..3000 {
        listen_all(loops, world);
        let busy: Vec<usize> = (0..loops.len())
            .filter(|n| !loops[*n].queue.is_empty())
            .collect();
        if busy.is_empty() || tape.one_in(3) {
            if !node(world, tape) && busy.is_empty() {
                return Ok(());
            }
            keeps(bounds, world, was_complete)?;
            continue;
        }
        let n = tape.of(&busy);
        let one = &mut loops[n];
        let key = one.queue.first().unwrap().clone();
        // It sees what it did itself, and of others only what was before that.
        let is_late = tape.one_in(4);
        let caches = if is_late {
            &views[n].caches
        } else {
            &world.caches
        };
        let plan = one.plan(&key, caches, world.now);
        one.queue.remove(&key);
        let much = if tape.one_in(8) {
            Much::Steps(tape.below(3))
        } else {
            Much::All
        };
        let mut broken = Ok(());
        one.carry_out(&key, plan, much, world, &mut |_, world| {
            if broken.is_ok() {
                broken = keeps(bounds, world, was_complete);
            }
        });
        broken?;
        if is_late {
            one.queue.insert(key);
        }
        views[n] = world.clone();
    }
    Err(TestCaseError::fail("it never ends"))
}

fn completes(bounds: &Bounds, newest: &str, world: &World) -> Result<(), TestCaseError> {
    let object = world.get(&place().0, &place().1).unwrap();
    let status = &object["status"];
    let n = |field: &str| status[field].as_i64().unwrap_or(0);
    for field in ["replicas", "updatedReplicas", "availableReplicas"] {
        prop_assert_eq!(n(field), bounds.replicas, "{}: {}", field, status);
    }
    let progress = status["conditions"].as_array().unwrap();
    let progress = progress.iter().find(|one| one["type"] == "Progressing");
    prop_assert_eq!(&progress.unwrap()["reason"], "NewReplicaSetAvailable");
    let old = world.all(&Kind::POD).filter(|pod| image(pod) != newest);
    prop_assert_eq!(old.count(), 0);
    // One for the history.
    prop_assert!(world.all(&Kind::REPLICA_SET).count() <= 2);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rollouts_keep_to_surge_and_availability_and_complete(
        replicas in 1_i64..6, surge in 0_i64..3, unavailable in 0_i64..3, recreates in prop::bool::weighted(0.2),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let bounds = Bounds {
            replicas,
            surge: if recreates { 0 } else { surge },
            unavailable: unavailable.min(replicas),
            recreates,
        };
        let mut tape = Tape::new(bytes);
        let mut world = World::default();
        world.put(&Kind::DEPLOYMENT, deployment(&bounds, "v1"));
        let mut loops = vec![Loop::new(named("deployment-controller")), Loop::new(named("replicaset-controller"))];
        run(&bounds, &mut loops, &mut world, &mut tape, false)?;
        completes(&bounds, "v1", &world)?;
        for image in ["v2", "v3", "v1"] {
            world.wait(1);
            let template = deployment(&bounds, image)["spec"]["template"].clone();
            world.edit(&place(), &json!({"spec": {"template": template}}));
            if tape.one_in(3) {
                // The next one comes before this one is over.
                for _ in 0..tape.below(20) {
                    listen_all(&mut loops, &mut world);
                    let n = tape.below(2);
                    let (one, world) = (&mut loops[n], &mut world);
                    one.step(world, &mut |_, _| {});
                    listen_all(&mut loops, world);
                    node(world, &mut tape);
                    keeps(&bounds, world, true)?;
                }
                continue;
            }
            run(&bounds, &mut loops, &mut world, &mut tape, true)?;
            completes(&bounds, image, &world)?;
        }
        run(&bounds, &mut loops, &mut world, &mut tape, true)?;
        completes(&bounds, "v1", &world)?;
    }
}
