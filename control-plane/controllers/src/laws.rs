//! The laws that every controller keeps, tested on worlds at random:
//!
//! 1. *Fixpoint*: what it does comes to an end, and then it wants nothing, woken by nothing but its own watches and times.
//! 2. *Staleness*: a plan that was stopped in the middle, carried out twice or made from an older world does not change where it ends.
//! 3. *Safety*: it changes only what is its own ([`safety`]), and never beyond its bounds ([`rollouts`], [`counting`]).
//! 4. *Order independence*: the order in which objects became known makes no difference.
//! 5. *Observed generation*: no status claims a generation that was not observed.

mod counting;
mod rollouts;
mod safety;
mod worlds;

use std::collections::BTreeMap;

use coracle_api::names::ObjectKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    action::{Action, BURST, Plan},
    controller::Controller,
    kind::Kind,
    model::{
        World,
        reconcile::{Loop, Much},
        tape::Tape,
    },
    node_health::Settings,
    registered,
};

/// No controller needs more plans than this for a world of some twenty objects.
const PLANS: usize = 2000;

fn named(name: &str) -> Box<dyn Controller> {
    let settings = Settings {
        ended_pods: 1,
        ..Settings::default()
    };
    let all = registered::all(settings);
    all.into_iter().find(|one| one.name() == name).unwrap()
}

/// Plans look at measurements, which no watch tells of.
fn is_driven_by_measurements(name: &str) -> bool {
    name == "horizontal-pod-autoscaler-controller"
}

/// A loop that has heard of everything in the world.
fn informed(name: &str, world: &mut World) -> Loop {
    let mut one = Loop::new(named(name));
    one.listen(world);
    if is_driven_by_measurements(name) {
        one.queue.extend(one.known.clone());
    }
    one
}

/// Lets a controller work until it wants nothing at any time up to the horizon.
fn settle(one: &mut Loop, world: &mut World) -> Result<(), TestCaseError> {
    let horizon = worlds::horizon(world);
    let mut n_plans = 0;
    loop {
        while one.step(world, &mut |_, _| {}) {
            n_plans += 1;
            prop_assert!(n_plans < PLANS, "it never ends: {:?}", one.queue);
        }
        quiet(one, world)?;
        match one.next_time() {
            Some(at) if at <= horizon => world.now = world.now.max(at),
            _ => return Ok(()),
        }
    }
}

/// Nothing is wanted for any key, though nothing woke it.
fn quiet(one: &Loop, world: &World) -> Result<(), TestCaseError> {
    if is_driven_by_measurements(one.controller.name()) {
        return Ok(());
    }
    for key in &one.known {
        if let Some(plan) = one.plan(key, &world.caches, world.now) {
            prop_assert!(
                plan.is_empty(),
                "{key}: {}",
                crate::model::describe::plan(&plan, world)
            );
        }
    }
    Ok(())
}

/// What a world comes down to, whatever its made-up names, versions and times: each object, and how many there are of it.
fn summary(world: &World) -> BTreeMap<String, usize> {
    let mut summary = BTreeMap::new();
    for ((kind, key), object) in world.objects() {
        let meta = &object["metadata"];
        let is_made = meta["generateName"].is_string() || *kind == Kind::POD;
        let name = match (is_made, meta["ownerReferences"][0]["uid"].as_str()) {
            (true, Some(owner)) => format!("of {owner}"),
            _ => key.name.clone(),
        };
        let mut spec = object["spec"].clone();
        if *kind == Kind::POD {
            // Which of equals go is open.
            spec = json!(null);
        }
        let taints = spec["taints"].as_array_mut().into_iter().flatten();
        for taint in taints {
            taint["timeAdded"] = json!(null);
        }
        let parts = json!([
            kind.kind,
            key.namespace,
            name,
            spec,
            object["endpoints"],
            meta["ownerReferences"],
            meta["finalizers"],
            meta["labels"],
            meta["deletionTimestamp"].is_string(),
            meta["annotations"]["batch.kubernetes.io/job-completion-index"],
            object["status"]["phase"] == json!("Failed"),
            object["status"]["phase"] == json!("Succeeded"),
        ]);
        *summary.entry(parts.to_string()).or_default() += 1;
    }
    summary
}

fn tape() -> impl Strategy<Value = Tape> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Tape::new)
}

fn steps(plan: &Plan) -> usize {
    plan.actions.len() + usize::from(plan.status.is_some())
}

/// Law 1.
fn ends(name: &str, mut tape: Tape) -> Result<(), TestCaseError> {
    let mut world = worlds::random(&mut tape);
    let mut one = informed(name, &mut world);
    settle(&mut one, &mut world)?;
    while tape.is_left() {
        worlds::disturb(&mut world, &mut tape);
        if tape.one_in(3) {
            settle(&mut one, &mut world)?;
        }
    }
    settle(&mut one, &mut world)
}

/// Law 2.
fn forgives(name: &str, mut tape: Tape) -> Result<(), TestCaseError> {
    let mut world = worlds::random(&mut tape);
    let mut calm = world.clone();
    let mut one = informed(name, &mut world);
    let mut other = Loop::new(named(name));
    other.queue = one.queue.clone();
    other.known = one.known.clone();
    settle(&mut other, &mut calm)?;
    let mut old = world.clone();
    for _ in 0..12 {
        one.listen(&mut world);
        let keys: Vec<ObjectKey> = one.queue.iter().cloned().collect();
        if keys.is_empty() {
            break;
        }
        let key = tape.of(&keys);
        one.queue.remove(&key);
        let fresh = one.plan(&key, &world.caches, world.now);
        let n_steps = fresh.as_ref().map_or(0, steps);
        match tape.below(4) {
            0 => one.carry_out(&key, fresh, Much::All, &mut world, &mut |_, _| {}),
            1 => {
                let some = Much::Steps(tape.below(n_steps + 1));
                one.carry_out(&key, fresh, some, &mut world, &mut |_, _| {});
            }
            2 => {
                one.carry_out(&key, fresh.clone(), Much::All, &mut world, &mut |_, _| {});
                one.carry_out(&key, fresh, Much::All, &mut world, &mut |_, _| {});
                one.queue.insert(key);
            }
            _ => {
                let stale = one.plan(&key, &old.caches, old.now);
                one.carry_out(&key, stale, Much::All, &mut world, &mut |_, _| {});
                one.queue.insert(key);
            }
        }
        if tape.one_in(3) {
            old = world.clone();
        }
    }
    settle(&mut one, &mut world)?;
    prop_assert_eq!(summary(&world), summary(&calm));
    Ok(())
}

/// Laws 3, 4 and 5, of every plan on the way.
fn is_safe(name: &str, mut tape: Tape) -> Result<(), TestCaseError> {
    let mut world = worlds::random(&mut tape);
    let mut one = informed(name, &mut world);
    for _ in 0..60 {
        one.listen(&mut world);
        let Some(key) = one.queue.pop_first() else {
            if !tape.is_left() {
                break;
            }
            worlds::disturb(&mut world, &mut tape);
            continue;
        };
        let plan = one.plan(&key, &world.caches, world.now);
        if let Some(plan) = &plan {
            check(name, &key, plan, &world)?;
        }
        let other_way = one.plan(&key, &world.caches_in(true), world.now);
        prop_assert_eq!(&plan, &other_way, "the order of objects matters");
        one.carry_out(&key, plan, Much::All, &mut world, &mut |_, _| {});
        if tape.one_in(4) {
            worlds::disturb(&mut world, &mut tape);
        }
    }
    Ok(())
}

fn check(name: &str, key: &ObjectKey, plan: &Plan, world: &World) -> Result<(), TestCaseError> {
    let bursty = plan.actions.iter().filter(|step| step.action.is_bursty());
    prop_assert!(bursty.count() <= BURST);
    let status = plan.status.clone().map(Action::from);
    let actions = plan.actions.iter().map(|step| &step.action).chain(&status);
    for action in actions {
        let words = crate::model::describe::action(action);
        if let Err(why) = safety::allows(name, key, action, world) {
            return Err(TestCaseError::fail(format!("{key}: {words}: {why}")));
        }
        if let Action::Patch { target, patch, .. } = action {
            let claimed = patch["status"]["observedGeneration"].as_i64();
            let object = world.get(&target.kind, &target.key);
            let is = object.and_then(|object| object["metadata"]["generation"].as_i64());
            prop_assert!(claimed.is_none() || claimed <= is, "{key}: {words}");
        }
    }
    Ok(())
}

macro_rules! laws {
    ($($test:ident: $name:literal,)*) => {
        $(mod $test {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

                #[test]
                fn it_ends_and_then_wants_nothing(tape in tape()) {
                    ends($name, tape)?;
                }

                #[test]
                fn interruptions_repetitions_and_old_news_change_nothing(tape in tape()) {
                    forgives($name, tape)?;
                }

                #[test]
                fn it_touches_its_own_only_in_any_order_and_claims_what_it_saw(tape in tape()) {
                    is_safe($name, tape)?;
                }
            }
        })*

        /// The controllers the laws are tested of, and the modules that do.
        const TESTED: &[(&str, &str)] = &[$(($name, stringify!($test)),)*];
    };
}

laws! {
    replica_set: "replicaset-controller",
    deployment: "deployment-controller",
    stateful_set: "statefulset-controller",
    daemon_set: "daemonset-controller",
    job: "job-controller",
    job_expiry: "ttl-after-finished-controller",
    autoscaler: "horizontal-pod-autoscaler-controller",
    endpoints: "endpointslice-controller",
    garbage: "garbage-collector",
    namespace: "namespace-controller",
    node_health: "node-lifecycle-controller",
    taint_eviction: "taint-eviction-controller",
    pod_orphans: "pod-garbage-collector-controller",
    service_account: "serviceaccount-controller",
    load_balancer: "service-lb-controller",
}

#[test]
fn every_registered_controller_has_its_laws_tested() {
    let mut registered: Vec<&str> = registered::all(Settings::default())
        .iter()
        .map(|one| one.name())
        .collect();
    let mut tested: Vec<&str> = TESTED.iter().map(|(name, _)| *name).collect();
    registered.sort_unstable();
    tested.sort_unstable();
    assert_eq!(registered, tested);
}

/// A controller is a folder with tests, or a file with them; and each such module is one that is registered.
#[test]
fn every_controller_is_registered_and_has_tests() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let registered = std::fs::read_to_string(src.join("registered.rs")).unwrap();
    let mut files = Vec::new();
    find(&src, &mut files);
    let mut n_controllers = 0;
    for (path, text) in &files {
        if !text.contains("\nimpl Controller for ") {
            continue;
        }
        n_controllers += 1;
        let name = text.split("\nimpl Controller for ").nth(1).unwrap();
        let name = name.split([' ', '{']).next().unwrap();
        assert!(
            registered.contains(&format!("Box::new({name}")),
            "{name} in {path:?} is not registered"
        );
        let folder = path.with_extension("");
        let beside = path.parent().unwrap();
        let tests = [folder.join("tests.rs"), beside.join("tests.rs")];
        let elsewhere = files
            .iter()
            .filter(|(path, _)| tests.contains(path))
            .any(|(_, text)| text.matches("#[test]").count() >= 3);
        let own = text.matches("#[test]").count() >= 1;
        assert!(own || elsewhere, "{name} in {path:?} has no tests");
    }
    assert_eq!(n_controllers, TESTED.len());
}

fn find(folder: &std::path::Path, files: &mut Vec<(std::path::PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else {
            files.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn object<'a>(world: &'a World, kind: &Kind, key: &ObjectKey) -> Option<&'a Value> {
    world.get(kind, key)
}
