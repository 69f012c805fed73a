//! What Jobs do about their pods, how they count them and how they end.

use serde_json::{Value, json};

use super::Jobs;
use crate::{
    kind::Kind,
    model::{
        World, ago,
        scene::{self, controlled_by, pod, with},
    },
};

fn labels() -> Value {
    json!({"batch.kubernetes.io/controller-uid": "uid-work", "batch.kubernetes.io/job-name": "work"})
}

fn job(spec: Value) -> Value {
    let job = json!({"metadata": {"name": "work", "uid": "uid-work"},
        "spec": {"parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "uid-work"}},
            "template": {"metadata": {"labels": labels()}, "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "v1"}]}}},
        "status": {"startTime": ago(1000), "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}}});
    with(job, json!({ "spec": spec }))
}

/// A pod of the Job that is still to be counted. What has ended did so 1000 seconds ago.
fn own(name: &str, state: &str) -> Value {
    let mut pod = pod(name, state, labels(), controlled_by(&Kind::JOB, "work"));
    pod["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    let code = match state {
        "succeeded" => 0,
        "failed" => 1,
        _ => return pod,
    };
    with(pod, exited(code, 1000))
}

fn exited(code: i64, seconds: i64) -> Value {
    let state = json!({"terminated": {"exitCode": code, "finishedAt": ago(seconds)}});
    json!({"status": {"containerStatuses": [{"name": "main", "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": ""}]}})
}

fn index(pod: Value, index: i64) -> Value {
    let index = json!({"batch.kubernetes.io/job-completion-index": index.to_string()});
    with(
        pod,
        json!({"metadata": {"annotations": index, "labels": index}}),
    )
}

fn world(job: Value, pods: Vec<Value>) -> World {
    let mut world = World::default();
    world.put(&Kind::JOB, job);
    for pod in pods {
        world.put(&Kind::POD, pod);
    }
    world
}

fn pods(list: &str) -> Vec<Value> {
    let named = list
        .split_whitespace()
        .map(|one| one.split_once(':').unwrap());
    named.map(|(name, state)| own(name, state)).collect()
}

#[track_caller]
fn check(job: Value, pods: Vec<Value>, expected: &str) {
    scene::check(Jobs, "a/work", &world(job, pods), expected);
}

/// The conditions it says the Job has.
fn conditions(job: Value, pods: Vec<Value>) -> String {
    let planned = scene::planned(Jobs, "a/work", &world(job, pods));
    let words = planned
        .split_whitespace()
        .filter(|word| word.contains("=True(") || word.contains("=False("));
    words.collect::<Vec<_>>().join(" ")
}

fn creates(job: Value, pods: Vec<Value>) -> usize {
    let planned = scene::planned(Jobs, "a/work", &world(job, pods));
    planned.matches("create Pod").count()
}

#[test]
fn as_many_pods_run_as_parallelism_says_and_completions_need() {
    let of = |parallelism: i64, completions: Value| {
        job(json!({"parallelism": parallelism, "completions": completions}))
    };
    assert_eq!(creates(of(3, json!(10)), vec![]), 3);
    assert_eq!(creates(of(3, json!(2)), vec![]), 2);
    assert_eq!(creates(of(3, json!(10)), pods("a:running b:pending")), 1);
    assert_eq!(creates(of(3, json!(3)), pods("a:succeeded b:succeeded")), 1);
    assert_eq!(creates(of(0, json!(3)), vec![]), 0);
    assert_eq!(creates(of(2, Value::Null), vec![]), 2);
    // A queue of work: the first success means that it is empty.
    assert_eq!(
        creates(of(3, Value::Null), pods("a:succeeded b:running")),
        0
    );
}

#[test]
fn surplus_pods_go_without_being_counted() {
    check(
        job(json!({"parallelism": 1, "completions": 5})),
        pods("a:running b:pending"),
        "patch Pod b metadata:(finalizers=null)
         delete Pod b
         status active=2",
    );
}

#[test]
fn a_pod_is_noted_then_let_go_then_counted() {
    let two = json!({"completions": 2, "parallelism": 1});
    check(
        job(two.clone()),
        pods("a:succeeded b:running"),
        "status active=1 uncountedTerminatedPods:(succeeded=[uid-a])",
    );
    let noted =
        json!({"status": {"active": 1, "uncountedTerminatedPods": {"succeeded": ["uid-a"]}}});
    check(
        with(job(two.clone()), noted.clone()),
        pods("a:succeeded b:running"),
        "patch Pod a metadata:(finalizers=null)",
    );
    check(
        with(job(two), noted),
        pods("b:running"),
        "status succeeded=1 uncountedTerminatedPods:(succeeded=null)",
    );
}

#[test]
fn a_job_is_complete_once_all_is_counted() {
    let done = |status: Value| with(job(json!({"completions": 1})), json!({ "status": status }));
    let met = "SuccessCriteriaMet=True(CompletionsReached)";
    assert_eq!(conditions(done(json!({})), pods("a:succeeded")), met);
    let planned = scene::planned(
        Jobs,
        "a/work",
        &world(done(json!({"succeeded": 1})), vec![]),
    );
    assert!(
        planned.contains("Complete=True(CompletionsReached)"),
        "{planned}"
    );
}

#[test]
fn failures_are_retried_with_back_off_until_the_limit() {
    let fresh = |name: &str, seconds| with(own(name, "failed"), exited(1, seconds));
    let two = job(json!({"completions": 1, "backoffLimit": 2}));
    check(
        two.clone(),
        vec![fresh("a", 4)],
        "status uncountedTerminatedPods:(failed=[uid-a])
         again in 6 s",
    );
    assert_eq!(creates(two.clone(), vec![fresh("a", 11)]), 1);
    assert_eq!(
        creates(two.clone(), vec![fresh("a", 100), fresh("b", 15)]),
        0
    );
    assert_eq!(
        creates(two.clone(), vec![fresh("a", 100), fresh("b", 21)]),
        1
    );
    let third = vec![
        fresh("a", 100),
        fresh("b", 90),
        fresh("c", 80),
        own("d", "running"),
    ];
    let planned = scene::planned(Jobs, "a/work", &world(two, third));
    assert!(planned.contains("delete Pod d"), "{planned}");
    assert!(
        planned.contains("FailureTarget=True(BackoffLimitExceeded)"),
        "{planned}"
    );
}

#[test]
fn restarts_in_place_count_against_the_limit_too() {
    let restarted = |n: i64| {
        let status = json!({"containerStatuses": [{"name": "main", "ready": true, "restartCount": n, "image": "", "imageID": ""}]});
        with(own("a", "running"), json!({ "status": status }))
    };
    let on_failure = job(
        json!({"backoffLimit": 2, "completions": 1, "template": {"spec": {"restartPolicy": "OnFailure"}}}),
    );
    assert_eq!(conditions(on_failure.clone(), vec![restarted(1)]), "");
    assert_eq!(
        conditions(on_failure, vec![restarted(2)]),
        "FailureTarget=True(BackoffLimitExceeded)"
    );
}

#[test]
fn the_deadline_ends_a_job_whatever_it_is_doing() {
    let limited = |seconds: i64| job(json!({"completions": 1, "activeDeadlineSeconds": seconds}));
    check(
        limited(1010),
        pods("a:running"),
        "status active=1\nagain in 10 s",
    );
    let planned = scene::planned(Jobs, "a/work", &world(limited(1000), pods("a:running")));
    assert!(planned.starts_with("delete Pod a"), "{planned}");
    assert!(
        planned.contains("FailureTarget=True(DeadlineExceeded)"),
        "{planned}"
    );
}

#[test]
fn a_suspended_job_has_no_pods_and_its_deadline_starts_anew() {
    let held = |suspend: bool| {
        job(json!({"completions": 1, "suspend": suspend, "activeDeadlineSeconds": 10}))
    };
    let planned = scene::planned(Jobs, "a/work", &world(held(true), pods("a:running")));
    assert!(planned.contains("delete Pod a"), "{planned}");
    assert!(
        planned.contains("Suspended=True(JobSuspended)"),
        "{planned}"
    );
    let suspended = json!({"status": {"startTime": ago(5000), "conditions": [{"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}]}});
    let mut world = world(with(held(false), suspended), vec![]);
    let mut one = crate::model::reconcile::Loop::new(Box::new(Jobs));
    while one.step(&mut world, &mut |_, _| {}) {}
    let job = world.all(&Kind::JOB).next().unwrap();
    assert_eq!(job["status"]["startTime"], json!(world.now.to_string()));
    assert_eq!(world.all(&Kind::POD).count(), 1, "{job:#}");
}

#[test]
fn every_index_has_one_pod() {
    let three = |more: Value| {
        with(
            job(json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed"})),
            more,
        )
    };
    check(
        three(json!({})),
        vec![index(own("a", "running"), 1)],
        "create Pod work-0-*
         create Pod work-2-*
         status active=1",
    );
    check(
        three(json!({"status": {"completedIndexes": "0,1", "succeeded": 2}})),
        vec![
            index(own("a", "running"), 2),
            index(own("b", "pending"), 2),
            index(own("c", "pending"), 0),
            index(own("d", "pending"), 7),
        ],
        "patch Pod c metadata:(finalizers=null)
         delete Pod c
         patch Pod d metadata:(finalizers=null)
         delete Pod d
         patch Pod b metadata:(finalizers=null)
         delete Pod b
         status active=4",
    );
    let world = world(three(json!({})), vec![]);
    let one = crate::model::reconcile::Loop::new(Box::new(Jobs));
    let key = coracle_api::names::ObjectKey::namespaced("a", "work");
    let plan = one.plan(&key, &world.caches, world.now).unwrap();
    let crate::action::Action::Create { object, .. } = &plan.actions[1].action else {
        panic!("{plan:?}");
    };
    assert_eq!(object["spec"]["hostname"], "work-1");
    assert_eq!(
        object["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"],
        "1"
    );
    assert_eq!(
        object["spec"]["containers"][0]["env"][0]["name"],
        "JOB_COMPLETION_INDEX"
    );
}

#[test]
fn an_index_that_two_pods_finished_has_succeeded_once() {
    let two = job(json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed"}));
    let both = vec![
        index(own("a", "succeeded"), 0),
        index(own("b", "succeeded"), 0),
        index(own("c", "running"), 1),
    ];
    check(
        two,
        both,
        "status active=1 completedIndexes=0 succeeded=1 uncountedTerminatedPods:(succeeded=[uid-a uid-b])",
    );
}

fn by_index(more: Value) -> Value {
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": null});
    with(job(spec), json!({ "spec": more }))
}

fn failed_before(pod: Value, n: i64) -> Value {
    with(
        pod,
        json!({"metadata": {"annotations": {"batch.kubernetes.io/job-index-failure-count": n.to_string()}}}),
    )
}

#[test]
fn failures_are_limited_by_index() {
    let other = || index(own("z", "running"), 1);
    // The first failure of an index is retried, and remembered by the pod until there is another.
    let first = || failed_before(index(own("a", "failed"), 0), 0);
    check(
        by_index(json!({})),
        vec![first(), other()],
        "create Pod work-0-*
         status active=1 failedIndexes= uncountedTerminatedPods:(failed=[uid-a])",
    );
    let noted = json!({"status": {"active": 1, "failedIndexes": "", "uncountedTerminatedPods": {"failed": ["uid-a"]}}});
    let held = scene::planned(
        Jobs,
        "a/work",
        &world(
            with(by_index(json!({})), noted.clone()),
            vec![first(), other()],
        ),
    );
    assert!(!held.contains("patch Pod a"), "{held}");
    let again = failed_before(index(own("b", "running"), 0), 1);
    check(
        with(by_index(json!({})), noted),
        vec![first(), again, other()],
        "patch Pod a metadata:(finalizers=null)
         status active=2",
    );
    // The second is the end of it; the others go on.
    let second = failed_before(index(own("b", "failed"), 0), 1);
    check(
        by_index(json!({})),
        vec![second.clone(), other()],
        "status active=1 failedIndexes=0 uncountedTerminatedPods:(failed=[uid-b])",
    );
    let all = conditions(
        by_index(json!({})),
        vec![second.clone(), index(own("z", "succeeded"), 1)],
    );
    assert_eq!(all, "FailureTarget=True(FailedIndexes)");
    let none = conditions(
        by_index(json!({"maxFailedIndexes": 0})),
        vec![second, other()],
    );
    assert_eq!(none, "FailureTarget=True(MaxFailedIndexesExceeded)");
}

#[test]
fn each_index_backs_off_for_itself() {
    let fresh =
        |name: &str, n: i64, seconds| index(with(own(name, "failed"), exited(1, seconds)), n);
    let waits = scene::planned(
        Jobs,
        "a/work",
        &world(by_index(json!({})), vec![fresh("a", 0, 3)]),
    );
    assert!(waits.contains("create Pod work-1-*"), "{waits}");
    assert!(!waits.contains("create Pod work-0-*"), "{waits}");
    assert!(waits.contains("again in 7 s"), "{waits}");
}

#[test]
fn a_policy_says_what_a_failure_means() {
    let rules = json!({"podFailurePolicy": {"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7]}},
    ]}});
    let with_policy = |more: Value| {
        with(
            job(json!({"completions": 1})),
            with(json!({"spec": rules.clone()}), more),
        )
    };
    let ended = |code| with(own("a", "failed"), exited(code, 1000));
    assert_eq!(
        conditions(with_policy(json!({})), vec![ended(42)]),
        "FailureTarget=True(PodFailurePolicy)"
    );
    // A disrupted pod leaves no trace.
    let disrupted =
        json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}});
    check(
        with_policy(json!({})),
        vec![with(ended(1), disrupted)],
        "patch Pod a metadata:(finalizers=null)
         create Pod work-*",
    );
    let of_index = with(by_index(rules.clone()), json!({}));
    let planned = scene::planned(Jobs, "a/work", &world(of_index, vec![index(ended(7), 0)]));
    assert!(planned.contains("failedIndexes=0"), "{planned}");
    // A pod that is being deleted has not failed before it has ended: its exit code may matter.
    let ending = scene::planned(
        Jobs,
        "a/work",
        &world(with_policy(json!({})), pods("a:running-ending")),
    );
    assert!(!ending.contains("failed="), "{ending}");
}

#[test]
fn a_success_policy_ends_a_job_early() {
    let policy = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}});
    let planned = scene::planned(
        Jobs,
        "a/work",
        &world(
            job(policy),
            vec![
                index(own("a", "succeeded"), 1),
                index(own("b", "running"), 0),
                index(own("c", "running"), 2),
            ],
        ),
    );
    assert!(planned.contains("delete Pod b\ndelete Pod c"), "{planned}");
    assert!(
        planned.contains("SuccessCriteriaMet=True(SuccessPolicy)"),
        "{planned}"
    );
}

#[test]
fn replacements_wait_for_the_end_where_the_job_says_so() {
    let of = |policy: &str| job(json!({"completions": 1, "podReplacementPolicy": policy}));
    assert_eq!(creates(of("Failed"), pods("a:running-ending")), 0);
    assert_eq!(
        creates(of("TerminatingOrFailed"), pods("a:running-ending")),
        1
    );
}

#[test]
fn a_job_that_is_over_lets_its_pods_go_and_does_nothing_more() {
    let over = json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    check(
        with(job(json!({"completions": 5})), over),
        pods("a:running"),
        "patch Pod a metadata:(finalizers=null)",
    );
}

#[test]
fn a_job_that_somebody_else_runs_is_left_alone() {
    check(
        job(json!({"managedBy": "example.com/queue"})),
        pods("a:succeeded"),
        "",
    );
    assert_eq!(
        creates(
            job(json!({"managedBy": "kubernetes.io/job-controller"})),
            vec![]
        ),
        1
    );
}

#[test]
fn pods_of_a_job_that_is_gone_are_freed() {
    let mut world = World::default();
    world.put(&Kind::POD, own("a", "succeeded"));
    scene::check(
        Jobs,
        "a/work",
        &world,
        "patch Pod a metadata:(finalizers=null)",
    );
}
