//! Histories by hand, each a promise of Kubernetes.

use jiff::Timestamp;
use serde_json::json;

use super::world::{World, names, seconds, told};
use crate::{Effect, Event, Exit, FetchFault, StartFault, probes::Kind};

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

fn probed(world: &mut World, probe: Kind, failure: Option<&str>) -> Vec<Effect> {
    world.tell(Event::Probed {
        run: world.run("c"),
        probe,
        failure: failure.map(str::to_owned),
    })
}

#[test]
fn a_pod_runs_and_its_status_says_so_at_each_step() {
    let mut world = World::new(&one(json!({})));
    assert_eq!(names(&world.tell(Event::Updated)), ["Prepare"]);
    assert_eq!(
        (world.phase(), world.shown("c").as_str()),
        ("Pending", "Waiting:ContainerCreating")
    );
    assert_eq!(world.condition("PodReadyToStartContainers"), "False");
    assert_eq!(
        names(&world.tell(Event::Prepared {
            ips: vec!["10.244.0.7".parse().unwrap()]
        })),
        ["Fetch c#0"]
    );
    assert_eq!(world.condition("PodReadyToStartContainers"), "True");
    assert_eq!(world.status().pod_ip.as_deref(), Some("10.244.0.7"));
    assert_eq!(names(&world.fetched("c")), ["Start c#0"]);
    let effects = world.started("c");
    assert_eq!(
        told(&effects),
        [
            "Created: Created container: c",
            "Started: Started container c"
        ]
    );
    let status = world.container("c");
    assert_eq!(
        (world.phase(), world.shown("c").as_str()),
        ("Running", "Running")
    );
    assert!(status.ready && status.started == Some(true));
    assert_eq!(status.image_id, "shop/web:1@sha256:0123");
    assert_eq!(status.container_id.as_deref(), Some("coracle://c-0"));
    for condition in ["Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(world.condition(condition), "True");
    }
    assert_eq!(world.status().host_ip.as_deref(), Some("192.0.2.1"));
}

#[test]
fn an_ephemeral_container_begins_at_once_and_counts_for_nothing() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    // Before the pod's own container runs: the image of that one cannot be had.
    let mut pod = world.pod.clone();
    let debug = json!([{ "name": "look", "image": "tools:1" }]);
    pod.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(debug).unwrap();
    world.pod = crate::with_ephemeral(pod);
    assert!(names(&world.tell(Event::Updated)).contains(&"Fetch look#0".to_owned()));
    let _ = world.fetched("look");
    let _ = world.started("look");
    assert_eq!(world.shown("look"), "Running");
    assert_eq!(world.phase(), "Pending");
    let effects = world.exit("look", Exit::Completed(3));
    assert!(!names(&effects).iter().any(|name| name.contains("look#1")));
    assert_eq!(world.shown("look"), "Terminated:Error:3");
    assert_eq!(world.status().container_statuses.unwrap().len(), 1);
    world.up("c");
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.condition("Ready"), "True");
    // The agent's next life knows that it is over.
    let mut pod = world.pod.clone();
    pod.status = Some(world.status());
    let adopted = World::of(pod);
    assert_eq!(adopted.shown("look"), "Terminated:Error:3");
}

#[test]
fn a_crash_loop_backs_off_and_is_forgiven_after_ten_minutes() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    let mut waits = Vec::new();
    for _ in 0..4 {
        let effects = world.exit("c", Exit::Completed(1));
        let before = world.now;
        if names(&effects).is_empty() {
            assert_eq!(world.shown("c"), "Waiting:CrashLoopBackOff");
            assert_eq!(
                told(&effects),
                ["BackOff: Back-off restarting failed container c in pod web_shop(u1)"]
            );
            let wake = world.state.wake_at().unwrap();
            world.pass(seconds(
                wake.duration_since(before).as_secs().unsigned_abs(),
            ));
        }
        waits.push(world.now.duration_since(before).as_secs());
        world.up("c");
    }
    assert_eq!(waits, [0, 10, 20, 40]);
    assert_eq!(world.container("c").restart_count, 4);
    assert_eq!(world.phase(), "Running");
    world.pass(seconds(601));
    assert_eq!(
        names(&world.exit("c", Exit::Completed(0))),
        ["Fetch c#5"],
        "ran long enough"
    );
}

#[test]
fn the_back_off_is_shown_with_its_delay_and_the_last_end() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    world.exit("c", Exit::Completed(2));
    world.up("c");
    world.exit("c", Exit::OutOfMemory);
    let status = world.container("c");
    let waiting = status.state.unwrap().waiting.unwrap();
    assert_eq!(
        waiting.message.unwrap(),
        "back-off 10s restarting failed container=c pod=web_shop(u1)"
    );
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (last.reason.as_deref(), last.exit_code),
        (Some("OOMKilled"), 137)
    );
    assert_eq!(world.condition("Ready"), "False:ContainersNotReady");
}

#[test]
fn every_exit_has_its_reason_and_code() {
    let cases = [
        (Exit::Completed(0), "Terminated:Completed:0"),
        (Exit::Completed(3), "Terminated:Error:3"),
        (
            Exit::Trapped("unreachable".to_owned()),
            "Terminated:Error:134",
        ),
        (Exit::OutOfFuel, "Terminated:FuelExhausted:152"),
        (Exit::OutOfMemory, "Terminated:OOMKilled:137"),
        (Exit::Killed, "Terminated:Error:137"),
        (Exit::Stopped, "Terminated:Error:143"),
        (
            Exit::HostFault("no memory for a stack".to_owned()),
            "Terminated:HostFault:128",
        ),
    ];
    for (exit, shown) in cases {
        let mut world = World::new(&with_policy("Never"));
        world.prepare();
        world.up("c");
        let well = exit == Exit::Completed(0);
        let effects = world.exit("c", exit);
        assert_eq!(names(&effects), ["Release"]);
        assert_eq!(world.shown("c"), shown);
        assert_eq!(world.phase(), if well { "Succeeded" } else { "Failed" });
        assert_eq!(
            world.condition("Ready"),
            if well {
                "False:PodCompleted"
            } else {
                "False:PodFailed"
            }
        );
        assert_eq!(world.condition("PodReadyToStartContainers"), "True");
        world.tell(Event::Released);
        assert_eq!(world.condition("PodReadyToStartContainers"), "False");
        assert!(world.state.has_ended() && !world.state.is_gone());
    }
}

#[test]
fn on_failure_runs_again_only_after_failures() {
    let mut world = World::new(&with_policy("OnFailure"));
    world.prepare();
    world.up("c");
    assert_eq!(names(&world.exit("c", Exit::Completed(1))), ["Fetch c#1"]);
    world.up("c");
    assert_eq!(names(&world.exit("c", Exit::Completed(0))), ["Release"]);
    assert_eq!(
        (world.phase(), world.container("c").restart_count),
        ("Succeeded", 1)
    );
}

#[test]
fn a_start_that_fails_counts_as_a_run_and_a_missing_secret_does_not() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.fetched("c");
    let effects = world.start_failed("c", StartFault::Config);
    assert_eq!(told(&effects), ["Failed: Error: secret \"s\" not found"]);
    assert_eq!(world.shown("c"), "Waiting:CreateContainerConfigError");
    assert!(world.state.waits_for_references());
    assert_eq!(names(&world.tell(Event::ReferencesChanged)), ["Start c#0"]);
    world.start_failed("c", StartFault::Config);
    assert_eq!(
        names(&world.pass(seconds(10))),
        ["Start c#0"],
        "looked for again without being told"
    );
    assert_eq!(
        names(&world.start_failed("c", StartFault::Start)),
        ["Fetch c#1"]
    );
    let last = world.container("c").last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (last.reason.as_deref(), last.exit_code),
        (Some("StartError"), 128)
    );
}

#[test]
fn a_pull_that_fails_is_shown_then_waits_then_is_repeated() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    let effects = world.fetch_failed("c", FetchFault::Pull);
    assert_eq!(
        told(&effects),
        [
            "Failed: Failed to pull image \"shop/web:1\": not there",
            "Failed: Error: ErrImagePull"
        ]
    );
    assert_eq!(world.shown("c"), "Waiting:ErrImagePull");
    let effects = world.pass(seconds(2));
    assert_eq!(
        told(&effects),
        [
            "BackOff: Back-off pulling image \"shop/web:1\"",
            "Failed: Error: ImagePullBackOff"
        ]
    );
    assert_eq!(world.shown("c"), "Waiting:ImagePullBackOff");
    assert_eq!(names(&world.pass(seconds(8))), ["Fetch c#0"]);
    world.fetch_failed("c", FetchFault::Pull);
    assert_eq!(names(&world.pass(seconds(19))), Vec::<String>::new());
    assert_eq!(
        names(&world.pass(seconds(1))),
        ["Fetch c#0"],
        "the delay doubles"
    );
    assert_eq!(world.phase(), "Pending");
}

#[test]
fn other_image_faults_have_their_own_reasons() {
    let cases = [
        (FetchFault::InvalidName, "Waiting:InvalidImageName", false),
        (FetchFault::NeverPull, "Waiting:ErrImageNeverPull", true),
        (FetchFault::InvalidImage, "Waiting:InvalidImage", true),
    ];
    for (fault, shown, is_repeated) in cases {
        let mut world = World::new(&one(json!({})));
        world.prepare();
        world.fetch_failed("c", fault);
        assert_eq!(world.shown("c"), shown);
        let effects = world.pass(seconds(10));
        assert_eq!(names(&effects) == ["Fetch c#0"], is_repeated, "{fault:?}");
        if !is_repeated {
            assert_eq!(
                names(&world.set_image("c", "shop/web:2")),
                ["Fetch c#0"],
                "another image is another chance"
            );
        }
    }
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let spec = json!({
        "initContainers": [{ "name": "a", "image": "i:1" }, { "name": "b", "image": "i:1" }],
        "containers": [{ "name": "c", "image": "i:1" }, { "name": "d", "image": "i:1" }]
    });
    let mut world = World::new(&spec);
    assert_eq!(names(&world.prepare()), ["Fetch a#0"]);
    assert_eq!(world.shown("c"), "Waiting:PodInitializing");
    assert_eq!(
        world.condition("Initialized"),
        "False:ContainersNotInitialized"
    );
    world.up("a");
    assert_eq!(world.phase(), "Pending");
    assert_eq!(
        names(&world.exit("a", Exit::Completed(1))),
        ["Fetch a#1"],
        "a failed one runs again"
    );
    world.up("a");
    assert_eq!(names(&world.exit("a", Exit::Completed(0))), ["Fetch b#0"]);
    assert!(world.container("a").ready);
    world.up("b");
    assert_eq!(
        names(&world.exit("b", Exit::Completed(0))),
        ["Fetch c#0", "Fetch d#0"]
    );
    assert_eq!(world.condition("Initialized"), "True");
    world.up("c");
    assert_eq!(world.phase(), "Pending");
    world.up("d");
    assert_eq!(
        (world.phase(), world.condition("Ready").as_str()),
        ("Running", "True")
    );
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{ "name": "a", "image": "i:1" }],
        "containers": [{ "name": "c", "image": "i:1" }]
    });
    let mut world = World::new(&spec);
    world.prepare();
    world.up("a");
    assert_eq!(names(&world.exit("a", Exit::Completed(1))), ["Release"]);
    assert_eq!(
        (world.phase(), world.shown("c").as_str()),
        ("Failed", "Waiting:PodInitializing")
    );
}

#[test]
fn liveness_failures_restart_the_container() {
    let spec = one(
        json!({ "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 5, "failureThreshold": 2, "terminationGracePeriodSeconds": 3 } }),
    );
    let mut world = World::new(&spec);
    world.prepare();
    assert!(names(&world.up("c")).contains(&"Probe c#0 Liveness".to_owned()));
    assert_eq!(
        told(&probed(&mut world, Kind::Liveness, Some("refused"))),
        ["Unhealthy: Liveness probe failed: refused"]
    );
    assert_eq!(names(&world.pass(seconds(5))), ["Probe c#0 Liveness"]);
    let effects = probed(&mut world, Kind::Liveness, Some("refused"));
    assert_eq!(names(&effects), ["Stop c#0 3s"]);
    assert!(
        told(&effects)
            .contains(&"Killing: Container c failed liveness probe, will be restarted".to_owned())
    );
    assert_eq!(
        world.state.wake_at(),
        None,
        "nothing is probed while it stops"
    );
    assert_eq!(names(&world.exit("c", Exit::Completed(0))), ["Fetch c#1"]);
}

#[test]
fn readiness_gates_the_pod_and_comes_back() {
    let spec =
        one(json!({ "readinessProbe": { "tcpSocket": { "port": 80 }, "failureThreshold": 1 } }));
    let mut world = World::new(&spec);
    world.prepare();
    world.up("c");
    assert_eq!(
        (
            world.condition("Ready").as_str(),
            world.container("c").started
        ),
        ("False:ContainersNotReady", Some(true))
    );
    assert!(probed(&mut world, Kind::Readiness, None).contains(&Effect::Publish));
    assert_eq!(world.condition("Ready"), "True");
    world.pass(seconds(10));
    assert_eq!(
        probed(&mut world, Kind::Readiness, None),
        [],
        "nothing new, nothing told"
    );
    world.pass(seconds(10));
    probed(
        &mut world,
        Kind::Readiness,
        Some("HTTP probe failed with statuscode: 503"),
    );
    assert_eq!(world.condition("Ready"), "False:ContainersNotReady");
    assert_eq!(world.container("c").restart_count, 0);
}

#[test]
fn other_probes_wait_for_the_startup_probe() {
    let probe = json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 1, "failureThreshold": 3 });
    let spec =
        one(json!({ "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe }));
    let mut world = World::new(&spec);
    world.prepare();
    assert!(names(&world.up("c")).contains(&"Probe c#0 Startup".to_owned()));
    assert_eq!(world.container("c").started, Some(false));
    let effects = probed(&mut world, Kind::Startup, None);
    assert_eq!(
        names(&effects),
        ["Probe c#0 Liveness", "Probe c#0 Readiness"]
    );
    assert_eq!(world.container("c").started, Some(true));

    let mut world = World::new(&spec);
    world.prepare();
    world.up("c");
    for _ in 0..2 {
        probed(&mut world, Kind::Startup, Some("refused"));
        world.pass(seconds(1));
    }
    let effects = probed(&mut world, Kind::Startup, Some("refused"));
    assert!(
        told(&effects)
            .contains(&"Killing: Container c failed startup probe, will be restarted".to_owned())
    );
}

#[test]
fn a_changed_image_restarts_its_container_whatever_the_policy() {
    let mut world = World::new(&with_policy("Never"));
    world.prepare();
    world.up("c");
    let effects = world.set_image("c", "shop/web:2");
    assert_eq!(names(&effects), ["Stop c#0 30s"]);
    assert_eq!(
        told(&effects),
        ["Killing: Container c definition changed, will be restarted"]
    );
    assert_eq!(names(&world.exit("c", Exit::Completed(0))), ["Fetch c#1"]);
    world.up("c");
    assert_eq!(world.container("c").image_id, "shop/web:2@sha256:0123");
}

#[test]
fn volumes_that_cannot_be_made_are_tried_again() {
    let mut world = World::new(&one(json!({})));
    world.tell(Event::Updated);
    let failed = || Event::PrepareFailed {
        reason: "FailedMount",
        message: "configmap \"x\" not found".to_owned(),
    };
    assert_eq!(
        told(&world.tell(failed())),
        ["FailedMount: configmap \"x\" not found"]
    );
    assert_eq!(names(&world.tell(Event::ReferencesChanged)), ["Prepare"]);
    world.tell(failed());
    assert_eq!(names(&world.pass(seconds(20))), ["Prepare"]);
}

#[test]
fn a_readiness_gate_holds_the_pod_back() {
    let mut spec = one(json!({}));
    spec["readinessGates"] = json!([{ "conditionType": "example.com/ok" }]);
    let mut world = World::new(&spec);
    world.prepare();
    world.up("c");
    assert_eq!(
        (
            world.condition("ContainersReady").as_str(),
            world.condition("Ready").as_str()
        ),
        ("True", "False:ReadinessGatesNotReady")
    );
    let status: k8s_openapi::api::core::v1::PodStatus = serde_json::from_value(
        json!({ "conditions": [{ "type": "example.com/ok", "status": "True" }] }),
    )
    .unwrap();
    world.pod.status = Some(status);
    assert_eq!(world.tell(Event::Updated), [Effect::Publish]);
    assert_eq!(world.condition("Ready"), "True");
}

#[test]
fn conditions_keep_the_time_of_their_last_change() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    let since = |world: &World, of: &str| -> Timestamp {
        let conditions = world.status().conditions.unwrap();
        conditions
            .into_iter()
            .find(|one| one.type_ == of)
            .unwrap()
            .last_transition_time
            .unwrap()
            .0
    };
    let (ready, initialized) = (since(&world, "Ready"), since(&world, "Initialized"));
    world.pass(seconds(5));
    world.exit("c", Exit::Completed(1));
    assert_eq!(since(&world, "Initialized"), initialized);
    assert_eq!(since(&world, "Ready").duration_since(ready).as_secs(), 5);
}

#[test]
fn stale_answers_change_nothing() {
    let mut world = World::new(&one(json!({})));
    world.prepare();
    world.up("c");
    let old = world.run("c");
    world.exit("c", Exit::Completed(1));
    world.up("c");
    let before = world.state.clone();
    for event in [
        Event::Probed {
            run: old.clone(),
            probe: Kind::Liveness,
            failure: Some("late".to_owned()),
        },
        Event::FetchFailed {
            run: old.clone(),
            fault: FetchFault::Pull,
            message: String::new(),
        },
        Event::Started {
            run: old,
            id: "x".to_owned(),
        },
        Event::Released,
        Event::Prepared {
            ips: vec!["10.9.9.9".parse().unwrap()],
        },
        Event::Refused {
            reason: String::new(),
            message: String::new(),
        },
    ] {
        assert_eq!(world.tell(event), []);
        assert_eq!(world.state, before);
    }
}
