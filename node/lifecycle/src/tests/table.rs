//! The transition table, as a golden file: every stage of a pod and every phase of a container against every event.

use std::fmt::Write as _;

use serde_json::json;

use super::world::{World, names, seconds, told};
use crate::{
    Event, Exit, FetchFault, Image, StartFault,
    event::Hook,
    probes::Kind,
    restart::after,
    state::{Phase, Stage},
};

fn world() -> World {
    World::new(&json!({
        "containers": [{
            "name": "c", "image": "i:1",
            "livenessProbe": { "tcpSocket": { "port": 80 }, "failureThreshold": 1 },
            "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } }
        }],
        "terminationGracePeriodSeconds": 30
    }))
}

fn stage(world: &World) -> &'static str {
    match world.state.stage() {
        Stage::New => "New",
        Stage::Preparing => "Preparing",
        Stage::PrepareFailed { .. } => "PrepareFailed",
        Stage::Active => "Active",
        Stage::Terminating => "Terminating",
        Stage::Releasing => "Releasing",
        Stage::Ended => "Ended",
        Stage::Confirming => "Confirming",
        Stage::Gone => "Gone",
    }
}

fn phase(world: &World) -> &'static str {
    match world.state.containers.first().unwrap().phase {
        Phase::Waiting => "Waiting",
        Phase::Fetching => "Fetching",
        Phase::FetchFailed {
            settles: Some(_), ..
        } => "FetchFailed",
        Phase::FetchFailed { settles: None, .. } => "FetchFailed(settled)",
        Phase::Starting => "Starting",
        Phase::Unconfigured { .. } => "Unconfigured",
        Phase::Running(_) => "Running",
        Phase::Stopping { asked: false, .. } => "Stopping(hook)",
        Phase::Stopping { asked: true, .. } => "Stopping",
        Phase::Exited { .. } => "Exited",
        Phase::BackOff { .. } => "BackOff",
        Phase::Done { .. } => "Done",
    }
}

/// A world in each stage and phase.
fn worlds() -> Vec<World> {
    type Way = fn(&mut World);
    let ways: [Way; 16] = [
        |_| {},
        |world| drop(world.tell(Event::Updated)),
        |world| {
            world.tell(Event::Updated);
            world.tell(Event::PrepareFailed {
                reason: "FailedMount",
                message: "no".to_owned(),
            });
        },
        |world| drop(world.prepare()),
        |world| {
            world.prepare();
            world.fetch_failed("c", FetchFault::Pull);
        },
        |world| {
            world.prepare();
            world.fetch_failed("c", FetchFault::Pull);
            world.pass(seconds(2));
        },
        |world| {
            world.prepare();
            world.fetched("c");
        },
        |world| {
            world.prepare();
            world.fetched("c");
            world.start_failed("c", StartFault::Config);
        },
        |world| running(world),
        |world| {
            running(world);
            probe_fails(world);
        },
        |world| {
            running(world);
            probe_fails(world);
            hook_done(world);
        },
        |world| {
            running(world);
            world.exit("c", Exit::Completed(1));
            world.up("c");
            world.exit("c", Exit::Completed(1));
        },
        |world| {
            running(world);
            world.delete(30);
        },
        |world| {
            running(world);
            world.delete(30);
            hook_done(world);
            world.exit("c", Exit::Stopped);
        },
        |world| {
            world.tell(Event::Refused {
                reason: "OutOfpods".to_owned(),
                message: "full".to_owned(),
            });
        },
        |world| {
            world.tell(Event::Refused {
                reason: "OutOfpods".to_owned(),
                message: "full".to_owned(),
            });
            world.delete(0);
        },
    ];
    ways.into_iter()
        .map(|way| {
            let mut world = world();
            way(&mut world);
            world
        })
        .collect()
}

fn running(world: &mut World) {
    world.prepare();
    world.up("c");
}

fn probe_fails(world: &mut World) {
    world.tell(Event::Probed {
        run: world.run("c"),
        probe: Kind::Liveness,
        failure: Some("refused".to_owned()),
    });
}

fn hook_done(world: &mut World) {
    world.tell(Event::HookDone {
        run: world.run("c"),
        hook: Hook::PreStop,
        failure: None,
    });
}

/// Every event, as it could come to this world.
fn events(world: &World) -> Vec<Event> {
    let run = world.run("c");
    vec![
        Event::Updated,
        Event::Removed,
        Event::Refused {
            reason: "OutOfcpu".to_owned(),
            message: "no room".to_owned(),
        },
        Event::Prepared {
            ips: vec!["10.244.0.7".parse().unwrap()],
        },
        Event::PrepareFailed {
            reason: "FailedMount",
            message: "no".to_owned(),
        },
        Event::Fetched {
            run: run.clone(),
            image: Image {
                reference: "i:1".to_owned(),
                id: "i@sha256:0".to_owned(),
            },
        },
        Event::FetchFailed {
            run: run.clone(),
            fault: FetchFault::Pull,
            message: "no".to_owned(),
        },
        Event::Started {
            run: run.clone(),
            id: "coracle://x".to_owned(),
        },
        Event::StartFailed {
            run: run.clone(),
            fault: StartFault::Config,
            message: "no".to_owned(),
        },
        Event::StartFailed {
            run: run.clone(),
            fault: StartFault::Start,
            message: "no".to_owned(),
        },
        Event::Exited {
            run: run.clone(),
            exit: Exit::Completed(1),
            at: world.now,
        },
        Event::Probed {
            run: run.clone(),
            probe: Kind::Liveness,
            failure: None,
        },
        Event::Probed {
            run: run.clone(),
            probe: Kind::Liveness,
            failure: Some("refused".to_owned()),
        },
        Event::HookDone {
            run: run.clone(),
            hook: Hook::PostStart,
            failure: Some("refused".to_owned()),
        },
        Event::HookDone {
            run,
            hook: Hook::PreStop,
            failure: None,
        },
        Event::ReferencesChanged,
        Event::Wake,
        Event::Released,
        Event::Shutdown {
            deadline: after(world.now, seconds(5)),
        },
    ]
}

#[test]
fn the_transition_table_is_as_reviewed() {
    let mut table = String::new();
    let mut seen = std::collections::BTreeSet::new();
    for world in worlds() {
        let from = format!("{}/{}", stage(&world), phase(&world));
        assert!(seen.insert(from.clone()), "two worlds are {from}");
        writeln!(table, "{from}").unwrap();
        for event in events(&world) {
            let mut name = event.name().to_owned();
            match &event {
                Event::StartFailed { fault, .. } => write!(name, "({fault:?})").unwrap(),
                Event::Probed { failure, .. } => name.push_str(if failure.is_some() {
                    "(failure)"
                } else {
                    "(success)"
                }),
                Event::HookDone { hook, .. } => write!(name, "({hook:?})").unwrap(),
                _ => {}
            }
            let mut next = World {
                pod: world.pod.clone(),
                state: world.state.clone(),
                now: world.now,
                alive: world.alive.clone(),
                effects: Vec::new(),
            };
            // An end that cannot come now is still to be taken without harm.
            if matches!(event, Event::StartFailed { .. } | Event::Exited { .. }) {
                next.alive.insert(next.run("c"));
            }
            let is_time = event == Event::Wake;
            if is_time {
                next.now = next.state.wake_at().unwrap_or(next.now);
            }
            let effects = next.tell(event);
            let to = format!("{}/{}", stage(&next), phase(&next));
            let mut does = names(&effects);
            does.extend(
                told(&effects)
                    .iter()
                    .map(|told| format!("Tell {}", told.split(':').next().unwrap())),
            );
            if effects.contains(&crate::Effect::Publish) {
                does.push("Publish".to_owned());
            }
            if to == from && does.is_empty() && next.state == world.state {
                continue;
            }
            writeln!(table, "  {name:<24} -> {to:<28} {}", does.join(", ")).unwrap();
        }
    }
    insta::assert_snapshot!("transitions", table);
}
