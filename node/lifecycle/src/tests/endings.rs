//! Histories by hand of how pods end and how the next agent takes them up.

use serde_json::json;

use super::world::{World, names, seconds, told};
use crate::{Effect, Event, Exit, event::Hook, state::Stage};

fn one(extra: serde_json::Value) -> serde_json::Value {
    let mut container = json!({ "name": "c", "image": "shop/web:1" });
    container
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    json!({ "containers": [container], "terminationGracePeriodSeconds": 30 })
}

fn with_policy(policy: &str) -> serde_json::Value {
    let mut spec = one(json!({}));
    spec["restartPolicy"] = json!(policy);
    spec
}

#[test]
fn sidecars_start_first_outlive_the_others_and_stop_from_the_last() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [
            { "name": "s", "image": "i:1", "restartPolicy": "Always" },
            { "name": "a", "image": "i:1" },
            { "name": "t", "image": "i:1", "restartPolicy": "Always" }
        ],
        "containers": [{ "name": "c", "image": "i:1" }]
    });
    let mut world = World::new(&spec);
    assert_eq!(names(&world.prepare()), ["Fetch s#0"]);
    assert_eq!(names(&world.up("s")), ["Start s#0", "Fetch a#0"]);
    world.up("a");
    assert_eq!(names(&world.exit("a", Exit::Completed(0))), ["Fetch t#0"]);
    assert_eq!(names(&world.up("t")), ["Start t#0", "Fetch c#0"]);
    world.up("c");
    assert_eq!(
        names(&world.exit("s", Exit::Completed(1))),
        ["Fetch s#1"],
        "a sidecar restarts whatever the policy"
    );
    assert_eq!(world.condition("Ready"), "False:ContainersNotReady");
    world.up("s");
    assert_eq!(
        names(&world.exit("c", Exit::Completed(0))),
        ["Stop t#0 30s"]
    );
    assert_eq!(world.phase(), "Running");
    assert_eq!(names(&world.exit("t", Exit::Stopped)), ["Stop s#1 30s"]);
    assert_eq!(names(&world.exit("s", Exit::Killed)), ["Release"]);
    assert_eq!(world.phase(), "Succeeded", "sidecars do not count");
}

#[test]
fn a_deleted_pod_stops_in_order_and_is_confirmed_last() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    let effects = world.delete(30);
    assert_eq!(names(&effects), ["Stop c#0 30s"]);
    assert_eq!(told(&effects), ["Killing: Stopping container c"]);
    assert_eq!(
        (world.phase(), world.condition("Ready").as_str()),
        ("Running", "True")
    );
    assert_eq!(
        names(&world.delete(5)),
        ["Stop c#0 5s"],
        "a second request may only hasten it"
    );
    assert_eq!(names(&world.delete(60)), Vec::<String>::new());
    assert_eq!(names(&world.exit("c", Exit::Completed(0))), ["Release"]);
    let effects = world.tell(Event::Released);
    assert_eq!(names(&effects), ["Confirm"]);
    let order: Vec<_> = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Publish | Effect::Confirm))
        .collect();
    assert_eq!(
        order,
        [&Effect::Publish, &Effect::Confirm],
        "the last status is told before the object goes"
    );
    assert_eq!(world.phase(), "Succeeded");
    assert_eq!(names(&world.tell(Event::Removed)), ["Forget"]);
    assert!(world.state.is_gone());
}

#[test]
fn a_pod_deleted_before_it_ran_ends_without_starting_anything() {
    for fetched in [false, true] {
        let mut world = World::new(&one(json!({})));
        world.prepare();
        if fetched {
            world.fetched("c");
            assert_eq!(
                names(&world.delete(30)),
                Vec::<String>::new(),
                "its start cannot be called back"
            );
            assert_eq!(names(&world.started("c")), ["Stop c#0 30s"]);
            world.exit("c", Exit::Stopped);
        } else {
            assert_eq!(names(&world.delete(30)), ["Release"]);
            assert_eq!(
                names(&world.fetched("c")),
                Vec::<String>::new(),
                "nobody asks any more"
            );
        }
        assert_eq!(world.phase(), "Failed");
        assert_eq!(names(&world.tell(Event::Released)), ["Confirm"]);
    }
}

#[test]
fn a_pod_deleted_while_it_is_prepared_gives_back_what_it_got() {
    let mut world = World::new(&one(json!({})));
    world.tell(Event::Updated);
    assert_eq!(names(&world.delete(0)), Vec::<String>::new());
    let prepared = Event::Prepared {
        ips: vec!["10.244.0.7".parse().unwrap()],
    };
    assert_eq!(names(&world.tell(prepared)), ["Release"]);
    assert_eq!(names(&world.tell(Event::Released)), ["Confirm"]);

    let mut world = World::new(&one(json!({})));
    world.tell(Event::Updated);
    world.delete(0);
    let failed = Event::PrepareFailed {
        reason: "FailedMount",
        message: "no".to_owned(),
    };
    assert_eq!(names(&world.tell(failed)), ["Confirm"]);
}

#[test]
fn a_pod_whose_object_vanished_is_ended_at_once() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    assert_eq!(names(&world.tell(Event::Removed)), ["Stop c#0 0ns"]);
    assert_eq!(names(&world.exit("c", Exit::Killed)), ["Release"]);
    assert_eq!(names(&world.tell(Event::Released)), ["Forget"]);
    assert!(
        !world
            .effects
            .iter()
            .rev()
            .take(3)
            .any(|effect| *effect == Effect::Publish),
        "nobody is there to be told"
    );
}

#[test]
fn a_pre_stop_hook_runs_before_the_stop_and_within_the_grace_period() {
    let spec = one(json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 3 } } } }));
    let mut world = World::new(&spec);
    world.prepare();
    world.up("c");
    assert_eq!(names(&world.delete(10)), ["Hook c#0 PreStop 10s"]);
    world.pass(seconds(3));
    let done = Event::HookDone {
        run: world.run("c"),
        hook: Hook::PreStop,
        failure: None,
    };
    assert_eq!(names(&world.tell(done)), ["Stop c#0 7s"]);

    let mut world = World::new(&spec);
    world.prepare();
    world.up("c");
    world.delete(10);
    assert_eq!(
        names(&world.pass(seconds(10))),
        ["Stop c#0 2s"],
        "a hook that takes all leaves two seconds"
    );

    let mut world = World::new(&spec);
    world.prepare();
    world.up("c");
    assert_eq!(
        names(&world.delete(0)),
        ["Stop c#0 0ns"],
        "no time, no hook"
    );
}

#[test]
fn a_container_has_started_when_its_post_start_hook_returned() {
    let spec = one(json!({ "lifecycle": { "postStart": { "httpGet": { "port": 80 } } } }));
    for failure in [None, Some("refused".to_owned())] {
        let mut world = World::new(&spec);
        world.prepare();
        assert!(names(&world.up("c")).contains(&"Hook c#0 PostStart 600s".to_owned()));
        assert_eq!(world.container("c").started, Some(false));
        let is_good = failure.is_none();
        let effects = world.tell(Event::HookDone {
            run: world.run("c"),
            hook: Hook::PostStart,
            failure,
        });
        if is_good {
            assert!(world.container("c").ready);
        } else {
            assert_eq!(names(&effects), ["Stop c#0 30s"]);
            assert_eq!(names(&world.exit("c", Exit::Killed)), ["Fetch c#1"]);
        }
    }
}

#[test]
fn a_pod_that_is_active_for_too_long_fails() {
    let mut spec = one(json!({}));
    spec["activeDeadlineSeconds"] = json!(60);
    let mut world = World::new(&spec);
    world.prepare();
    world.up("c");
    assert_eq!(names(&world.pass(seconds(59))), Vec::<String>::new());
    assert_eq!(names(&world.pass(seconds(1))), ["Stop c#0 30s"]);
    assert_eq!(world.phase(), "Running", "not before nothing runs");
    world.exit("c", Exit::Completed(0));
    let status = world.status();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );
}

#[test]
fn a_refused_pod_fails_with_the_reason() {
    let mut world = World::new(&one(json!({})));
    let effects = world.tell(Event::Refused {
        reason: "OutOfcpu".to_owned(),
        message: "no room".to_owned(),
    });
    assert_eq!(effects, [Effect::Publish]);
    let status = world.status();
    assert_eq!(
        (
            status.phase.as_deref(),
            status.reason.as_deref(),
            status.message.as_deref()
        ),
        (Some("Failed"), Some("OutOfcpu"), Some("no room"))
    );
    assert_eq!((status.conditions, status.container_statuses), (None, None));
    assert_eq!(names(&world.delete(0)), ["Confirm"]);
}

#[test]
fn an_agents_restart_starts_the_containers_again_and_counts_it() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    world.exit("c", Exit::Completed(1));
    world.up("c");
    let start = world.status().start_time;
    world.pass(seconds(60));
    world.restart_agent();
    assert_eq!(world.container("c").restart_count, 1);
    world.prepare();
    assert_eq!(names(&world.fetched("c")), ["Start c#2"]);
    world.started("c");
    let status = world.container("c");
    assert_eq!(status.restart_count, 2);
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (
            last.reason.as_deref(),
            last.exit_code,
            last.container_id.as_deref()
        ),
        (Some("Unknown"), 255, Some("coracle://c-1"))
    );
    assert_eq!(world.status().start_time, start);
}

#[test]
fn an_agents_restart_does_not_repeat_what_must_run_once() {
    let mut world = World::new(&with_policy("Never"));
    world.prepare();
    world.up("c");
    world.restart_agent();
    assert_eq!(names(&world.prepare()), ["Release"]);
    assert_eq!(
        (world.phase(), world.shown("c").as_str()),
        ("Failed", "Terminated:Unknown:255")
    );

    let mut world = World::new(&with_policy("OnFailure"));
    world.prepare();
    world.up("c");
    world.exit("c", Exit::Completed(0));
    world.tell(Event::Released);
    let before = world.status();
    world.restart_agent();
    assert_eq!(world.tell(Event::Updated), []);
    assert_eq!(world.status().container_statuses, before.container_statuses);
    assert_eq!(world.phase(), "Succeeded");
    assert_eq!(names(&world.delete(0)), ["Confirm"]);
}

#[test]
fn an_orderly_shutdown_leaves_the_pod_to_the_next_agent() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    let deadline = crate::restart::after(world.now, seconds(5));
    assert_eq!(
        names(&world.tell(Event::Shutdown { deadline })),
        ["Stop c#0 5s"]
    );
    assert_eq!(names(&world.exit("c", Exit::Stopped)), ["Release"]);
    assert_eq!(
        (world.phase(), world.condition("Ready").as_str()),
        ("Running", "False:ContainersNotReady")
    );
    assert_eq!(names(&world.tell(Event::Released)), Vec::<String>::new());
    assert!(world.state.is_gone());
    world.restart_agent();
    world.prepare();
    world.up("c");
    assert_eq!(
        (world.phase(), world.container("c").restart_count),
        ("Running", 1)
    );
}

#[test]
fn a_pod_deleted_while_the_agent_was_away_is_only_confirmed() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    world.restart_agent();
    assert_eq!(names(&world.delete(30)), ["Confirm"]);
    assert_eq!(world.state.stage(), &Stage::Confirming);
}

#[test]
fn what_has_ended_does_not_keep_an_agent_from_ending() {
    let done = || {
        let mut world = World::new(&with_policy("Never"));
        world.prepare();
        world.up("c");
        world.exit("c", Exit::Completed(0));
        world.tell(Event::Released);
        world
    };
    let mut completed = done();
    let deadline = completed.now;
    completed.tell(Event::Shutdown { deadline });
    assert!(completed.state.is_gone());
    assert_eq!(completed.phase(), "Succeeded");

    let mut deleted = done();
    assert_eq!(names(&deleted.delete(30)), ["Confirm"]);
    deleted.tell(Event::Shutdown { deadline });
    assert!(deleted.state.is_gone(), "the next agent hears the answer");

    let mut stopping = World::new(&one(json!({})));
    stopping.prepare();
    stopping.up("c");
    stopping.delete(30);
    stopping.tell(Event::Shutdown { deadline });
    assert_eq!(names(&stopping.exit("c", Exit::Killed)), ["Release"]);
    assert_eq!(names(&stopping.tell(Event::Released)), ["Confirm"]);
    assert!(stopping.state.is_gone(), "and the object is given up still");
}
