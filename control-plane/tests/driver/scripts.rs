//! The driver's own promises, shown with controllers that do as the test says.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use coracle_api::names::ObjectKey;
use coracle_controllers::{
    action::{Action, Part, Plan, Requeue, Severity, Step, Target, key_of, seen},
    caches::Caches,
    controller::{Controller, Seen, Watch},
    kind::Kind,
    memory::Memory,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::cluster::{Cluster, DEADLINE, EVENTS, PODS, name, template, uid};

const NAME: &str = "scripted-controller";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A controller of Services that does as it is told.
struct Scripted<F>(F);

impl<F> Controller for Scripted<F>
where
    F: Fn(&ObjectKey, &Seen<'_>) -> Option<Plan> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(Kind::SERVICE, |change| {
            let one = change.both().next().map(|one| key_of(one.meta()));
            one.into_iter()
                .filter(|key| key.name != "kubernetes")
                .collect()
        })]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        (self.0)(key, seen)
    }
}

async fn scripted<F>(plan: F) -> Cluster
where
    F: Fn(&ObjectKey, &Seen<'_>) -> Option<Plan> + Send + Sync + 'static,
{
    Cluster::with(vec![Box::new(Scripted(plan))]).await
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

fn pod(name: &str) -> Value {
    let mut pod = template("x");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!("default");
    pod
}

fn target(key: &ObjectKey, caches: &Caches) -> Option<(Target, String)> {
    let meta = &caches.services.get(key)?.metadata;
    Some((Target::of(&Kind::SERVICE, meta), seen(meta)))
}

fn label(key: &str, value: usize) -> Value {
    json!({"metadata": {"labels": {key: value.to_string()}}})
}

/// What a controller has seen, one entry a plan.
type Log<T> = Arc<Mutex<Vec<T>>>;

#[tokio::test]
async fn a_key_is_held_back_until_the_caches_show_what_was_written() {
    /// So often another key is planned for while this one is held back.
    const MEANWHILE: usize = 50;
    let watches: Arc<Mutex<Option<watch::Sender<bool>>>> = Arc::default();
    let switch = Arc::clone(&watches);
    // The number of pods that each plan for `a` saw.
    let seen_pods: Log<usize> = Log::default();
    let log = Arc::clone(&seen_pods);
    let ticks = watch::Sender::new(0_usize);
    let clock = ticks.clone();
    let cluster = scripted(move |key, seen| {
        target(key, seen.caches)?;
        // Both keys are always due again at once.
        let mut plan = Plan {
            requeue: Requeue::At(seen.now),
            ..Plan::default()
        };
        if key.name == "clock" {
            clock.send_modify(|ticks| *ticks += 1);
            return Some(plan);
        }
        let n = seen.caches.pods.len();
        log.lock().push(n);
        if n == 0 {
            if let Some(watches) = &*switch.lock() {
                watches.send_replace(false);
            }
            // Two things to wait for: one that comes and one that changes.
            for name in ["a", "b"] {
                plan.act(Action::Create {
                    kind: Kind::POD,
                    object: pod(name),
                });
            }
        } else {
            plan.requeue = Requeue::OnChange;
        }
        Some(plan)
    })
    .await;
    *watches.lock() = Some(cluster.flowing());
    cluster.create(SERVICES, &service("clock")).await;
    let mut ticking = ticks.subscribe();
    let reached = timeout(DEADLINE, ticking.wait_for(|ticks| *ticks > 0)).await;
    drop(reached.expect("no plan for the other key"));
    cluster.create(SERVICES, &service("a")).await;
    cluster.count(PODS, 2, |_| true).await;
    let now = *ticks.borrow();
    let reached = ticking.wait_for(|ticks| *ticks > now + MEANWHILE);
    drop(timeout(DEADLINE, reached).await.expect("it stands still"));
    assert_eq!(*seen_pods.lock(), [0], "planned for what is not seen yet");
    cluster.flowing().send_replace(true);
    let now = *ticks.borrow();
    let reached = ticking.wait_for(|ticks| *ticks > now + MEANWHILE);
    drop(timeout(DEADLINE, reached).await.expect("it stands still"));
    let log = seen_pods.lock().clone();
    assert_eq!(log[..2], [0, 2], "{log:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn patches_of_one_plan_follow_each_other() {
    let cluster = scripted(|key, seen| {
        let (target, version) = target(key, seen.caches)?;
        let mut plan = Plan::default();
        if seen.caches.services.get(key)?.metadata.labels.is_none() {
            // Both were decided from the same version; the second must not be refused because of the first.
            for n in 1..=2 {
                plan.act(Action::Patch {
                    target: target.clone(),
                    seen: version.clone(),
                    part: Part::Main,
                    patch: label(&format!("l{n}"), n),
                });
            }
        }
        Some(plan)
    })
    .await;
    let before = cluster.create(SERVICES, &service("a")).await;
    let uri = format!("{SERVICES}/a");
    let both = json!({"l1": "1", "l2": "2"});
    cluster
        .becomes(&uri, |one| one["metadata"]["labels"] == both)
        .await;
    assert_eq!(uid(&before), uid(&cluster.get(&uri).await.unwrap()));
    cluster.stop().await;
}

#[tokio::test]
async fn failures_are_shown_to_the_next_plan_and_told_to_users() {
    let seen_failures: Log<Option<String>> = Log::default();
    let log = Arc::clone(&seen_failures);
    let cluster = scripted(move |key, seen| {
        let (target, _) = target(key, seen.caches)?;
        let mut log = log.lock();
        log.push(seen.failure.map(|failure| failure.message.clone()));
        let mut plan = Plan::default();
        // Good from the third time on.
        let name = if log.len() < 3 { "Not A Name" } else { "good" };
        if seen
            .caches
            .pods
            .get(&ObjectKey::namespaced("default", "good"))
            .is_none()
        {
            let create = Action::Create {
                kind: Kind::POD,
                object: pod(name),
            };
            let note = |reason: &'static str, words: &str| {
                target.note(Severity::Warning, reason, words.to_owned())
            };
            plan.actions
                .push(create.telling(note("Made", "Made it"), note("NotMade", "Error making it")));
            // Not done while the first fails.
            plan.act(Action::Create {
                kind: Kind::POD,
                object: pod(&format!("second-{}", log.len())),
            });
        }
        Some(plan)
    })
    .await;
    cluster.create(SERVICES, &service("a")).await;
    cluster.becomes(&format!("{PODS}/good"), |_| true).await;
    cluster.becomes(&format!("{PODS}/second-3"), |_| true).await;
    assert_eq!(cluster.names(PODS).await, ["good", "second-3"]);
    let told = cluster
        .count(EVENTS, 1, |event| {
            event["reason"] == "NotMade" && event["count"] == 2
        })
        .await;
    let message = told[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Error making it: Pod \"Not A Name\" is invalid"),
        "{message}"
    );
    let log = seen_failures.lock().clone();
    assert_eq!(log[0], None);
    assert!(log[1].is_some() && log[2].is_some(), "{log:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_planner_that_panics_harms_nobody_else() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let cluster = scripted(move |key, seen| {
        let (target, version) = target(key, seen.caches)?;
        if key.name == "bad" {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("a bug");
        }
        let mut plan = Plan::default();
        if seen.caches.services.get(key)?.metadata.labels.is_none() {
            plan.act(Action::Patch {
                target,
                seen: version,
                part: Part::Main,
                patch: label("done", 1),
            });
        }
        Some(plan)
    })
    .await;
    cluster.create(SERVICES, &service("bad")).await;
    for name in ["a", "b"] {
        cluster.create(SERVICES, &service(name)).await;
        cluster
            .becomes(&format!("{SERVICES}/{name}"), |one| {
                one["metadata"]["labels"]["done"] == "1"
            })
            .await;
    }
    // Tried again, but not without end: 5 ms, 10 ms, 20 ms and so on.
    cluster.quiet().await;
    let tries = tries.load(Ordering::Relaxed);
    assert!((2..20).contains(&tries), "{tries}");
    cluster.stop().await;
}

#[tokio::test]
async fn what_a_plan_asks_to_remember_is_kept_until_the_object_goes() {
    let memories: Log<Memory> = Log::default();
    let log = Arc::clone(&memories);
    let since = Memory::MissingSince(jiff::Timestamp::UNIX_EPOCH);
    let asked = since.clone();
    let cluster = scripted(move |key, seen| {
        target(key, seen.caches)?;
        log.lock().push(seen.memory.clone());
        Some(Plan {
            memory: (*seen.memory == Memory::Nothing).then(|| asked.clone()),
            ..Plan::default()
        })
    })
    .await;
    let uri = format!("{SERVICES}/a");
    let planned = async |n| {
        cluster
            .until("plans", async || {
                let done = memories.lock().len();
                // Any write makes it look again.
                if done < n {
                    cluster.patch(&uri, &label("touched", done)).await;
                }
                if done >= n { Ok(()) } else { Err(json!(done)) }
            })
            .await;
    };
    cluster.create(SERVICES, &service("a")).await;
    planned(2).await;
    assert_eq!(memories.lock()[..2], [Memory::Nothing, since.clone()]);
    cluster.delete(&uri, json!({})).await;
    cluster.quiet().await;
    memories.lock().clear();
    cluster.create(SERVICES, &service("a")).await;
    planned(1).await;
    assert_eq!(memories.lock()[0], Memory::Nothing);
    cluster.stop().await;
}

#[tokio::test]
async fn a_plan_that_asks_for_a_time_is_made_again_then() {
    let times: Log<Instant> = Log::default();
    let log = Arc::clone(&times);
    let cluster = scripted(move |key, seen| {
        let (target, version) = target(key, seen.caches)?;
        let mut log = log.lock();
        log.push(Instant::now());
        let mut plan = Plan::default();
        if log.len() == 1 {
            let later = seen.now + jiff::SignedDuration::from_millis(300);
            plan.requeue = Requeue::At(later);
        } else if log.len() == 2 {
            plan.act(Action::Patch {
                target,
                seen: version,
                part: Part::Main,
                patch: label("done", 1),
            });
        }
        Some(plan)
    })
    .await;
    cluster.create(SERVICES, &service("a")).await;
    cluster
        .becomes(&format!("{SERVICES}/a"), |one| {
            one["metadata"]["labels"]["done"] == "1"
        })
        .await;
    let waited = {
        let times = times.lock();
        times[1] - times[0]
    };
    assert!(waited.as_millis() >= 299, "{waited:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn an_owner_that_goes_adopts_nobody() {
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tried);
    // Believes in an owner it once saw, however long that is gone.
    let believed: Mutex<Option<Target>> = Mutex::default();
    let cluster = scripted(move |key, seen| {
        if let Some((target, _)) = target(key, seen.caches)
            && key.name == "owner"
        {
            *believed.lock() = Some(target);
            return Some(Plan::default());
        }
        let owner = believed.lock().clone()?;
        let orphan = seen.caches.pods.iter().next()?;
        let mut plan = Plan::default();
        if seen.caches.services.get(&owner.key).is_none() {
            counted.fetch_add(1, Ordering::Relaxed);
            let meta = &orphan.metadata;
            plan.actions.push(Step::from(Action::Adopt {
                target: Target::of(&Kind::POD, meta),
                seen: coracle_controllers::action::seen(meta),
                owner: owner.clone(),
                patch: json!({"metadata": {"ownerReferences": [owner.controller_ref()]}}),
            }));
        }
        Some(plan)
    })
    .await;
    cluster.create(PODS, &pod("orphan")).await;
    cluster.create(SERVICES, &service("owner")).await;
    cluster.quiet().await;
    cluster
        .delete(&format!("{SERVICES}/owner"), json!({}))
        .await;
    cluster.create(SERVICES, &service("other")).await;
    cluster.quiet().await;
    assert!(tried.load(Ordering::Relaxed) >= 2);
    let orphan = cluster.get(&format!("{PODS}/orphan")).await.unwrap();
    assert_eq!(name(&orphan), "orphan");
    assert!(orphan["metadata"]["ownerReferences"].is_null(), "{orphan}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_stale_deletion_spares_the_newer_object() {
    let first: Mutex<Option<Target>> = Mutex::default();
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tried);
    let cluster = scripted(move |key, seen| {
        let (target, _) = target(key, seen.caches)?;
        let mut first = first.lock();
        let first = first.get_or_insert(target.clone());
        let mut plan = Plan::default();
        if *first != target {
            counted.fetch_add(1, Ordering::Relaxed);
            plan.act(Action::Delete {
                target: first.clone(),
                seen: None,
                propagation: coracle_controllers::action::Propagation::Background,
                grace: None,
            });
        }
        Some(plan)
    })
    .await;
    let uri = format!("{SERVICES}/a");
    let before = cluster.create(SERVICES, &service("a")).await;
    cluster.quiet().await;
    cluster.delete(&uri, json!({})).await;
    let after = cluster.create(SERVICES, &service("a")).await;
    cluster.quiet().await;
    assert_ne!(uid(&before), uid(&after));
    assert!(tried.load(Ordering::Relaxed) > 0);
    assert_eq!(uid(&cluster.get(&uri).await.unwrap()), uid(&after));
    cluster.stop().await;
}
