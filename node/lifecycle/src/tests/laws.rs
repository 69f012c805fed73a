//! Laws for every history: a world whose executor answers in any order and with any outcome, and whose users do anything at any time. What must hold
//! at each step is checked by [`World::tell`]; here is what must hold in the end.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{World, named, seconds};
use crate::{
    Effect, Event, Exit, FetchFault, Image, RunId, StartFault,
    event::Hook,
    restart::{after, until},
    state::Stage,
};

/// What a stop may take beyond the grace period: two seconds after a hook, two for each of two sidecars, and hooks of theirs.
const BOUND: Duration = Duration::from_secs(12);

/// Numbers from the test case, then zeroes.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % n
    }

    fn are_left(&self) -> bool {
        self.0.len() > 0
    }
}

/// A world with somebody who does what the worker wants, in time.
struct Sim {
    world: World,
    /// Answers that will come, not before their time.
    due: Vec<(Timestamp, Event)>,
    /// When a running instance ends because it was told to.
    stops: BTreeMap<RunId, Timestamp>,
    starts: usize,
    ends: usize,
}

impl Sim {
    fn tell(&mut self, event: Event, choices: &mut Choices<'_>) {
        if let Event::Exited { run, .. } = &event {
            self.stops.remove(run);
        }
        if matches!(event, Event::Exited { .. } | Event::StartFailed { .. }) {
            self.ends += 1;
        }
        let effects = self.world.tell(event);
        let now = self.world.now;
        for effect in effects {
            match effect {
                Effect::Prepare => {
                    let ok = Event::Prepared {
                        ips: vec!["10.244.0.7".parse().unwrap()],
                    };
                    let no = Event::PrepareFailed {
                        reason: "FailedMount",
                        message: "no".to_owned(),
                    };
                    self.due
                        .push((now, if choices.below(4) == 3 { no } else { ok }));
                }
                Effect::Fetch { run } => {
                    let reference = crate::spec::image(&self.world.pod, &run.container).to_owned();
                    let image = Image {
                        id: format!("{reference}@sha256:0"),
                        reference,
                    };
                    let fault = [
                        FetchFault::Pull,
                        FetchFault::NeverPull,
                        FetchFault::InvalidName,
                        FetchFault::InvalidImage,
                    ];
                    let event = match choices.below(6) {
                        5 => Event::FetchFailed {
                            run,
                            fault: fault[choices.below(4)],
                            message: "no".to_owned(),
                        },
                        _ => Event::Fetched { run, image },
                    };
                    self.due.push((now, event));
                }
                Effect::Start { run } => {
                    self.starts += 1;
                    let event = match choices.below(6) {
                        4 => Event::StartFailed {
                            run,
                            fault: StartFault::Config,
                            message: "no".to_owned(),
                        },
                        5 => Event::StartFailed {
                            run,
                            fault: StartFault::Start,
                            message: "no".to_owned(),
                        },
                        _ => Event::Started {
                            run,
                            id: "coracle://x".to_owned(),
                        },
                    };
                    self.due.push((now, event));
                }
                Effect::Stop { run, grace } => {
                    let at = after(now, grace);
                    let known = self.stops.entry(run).or_insert(at);
                    *known = at.min(*known);
                }
                Effect::Hook { run, hook, timeout } => {
                    let failure = (choices.below(3) == 2).then(|| "refused".to_owned());
                    let at = if choices.below(2) == 0 {
                        now
                    } else {
                        after(now, timeout.min(seconds(60)))
                    };
                    self.due.push((at, Event::HookDone { run, hook, failure }));
                }
                Effect::Probe {
                    run,
                    probe,
                    timeout,
                } => {
                    let failure = (choices.below(3) == 2).then(|| "refused".to_owned());
                    let at = if choices.below(2) == 0 {
                        now
                    } else {
                        after(now, timeout)
                    };
                    self.due.push((
                        at,
                        Event::Probed {
                            run,
                            probe,
                            failure,
                        },
                    ));
                }
                Effect::Release => self.due.push((now, Event::Released)),
                Effect::Confirm => self.due.push((now, Event::Removed)),
                Effect::Publish | Effect::Forget | Effect::Tell(_) => {}
            }
        }
    }

    /// Delivers one answer that can come now, if any.
    fn answer(&mut self, choices: &mut Choices<'_>) -> bool {
        let ready: Vec<usize> = (0..self.due.len())
            .filter(|index| self.due[*index].0 <= self.world.now)
            .collect();
        if let Some(over) = self
            .stops
            .iter()
            .find(|(_, at)| **at <= self.world.now)
            .map(|(run, _)| run.clone())
            && self.world.state.run_of(&over.container) == Some((over.clone(), true))
        {
            let at = self.world.now;
            self.tell(
                Event::Exited {
                    run: over,
                    exit: Exit::Killed,
                    at,
                },
                choices,
            );
            return true;
        }
        if ready.is_empty() {
            return false;
        }
        let (_, event) = self.due.remove(ready[choices.below(ready.len())]);
        self.tell(event, choices);
        true
    }

    /// Moves time to the next thing that happens by itself.
    fn pass(&mut self, choices: &mut Choices<'_>) -> bool {
        let due = self.due.iter().map(|(at, _)| *at);
        let stops = self.stops.values().copied();
        let next = due.chain(stops).chain(self.world.state.wake_at()).min();
        let Some(next) = next else { return false };
        self.world.now = self.world.now.max(next);
        if self
            .world
            .state
            .wake_at()
            .is_some_and(|wake| wake <= self.world.now)
        {
            self.tell(Event::Wake, choices);
        }
        true
    }

    /// Something that nobody planned.
    fn surprise(&mut self, choices: &mut Choices<'_>) {
        let now = self.world.now;
        match choices.below(16) {
            0..=6 => {
                let running = crate::status::running(&self.world.state);
                if running.is_empty() {
                    return;
                }
                let (container, number) = running[choices.below(running.len())].clone();
                let exits = [
                    Exit::Completed(0),
                    Exit::Completed(1),
                    Exit::OutOfMemory,
                    Exit::Trapped("t".to_owned()),
                    Exit::HostFault("h".to_owned()),
                ];
                let exit = exits[choices.below(exits.len())].clone();
                self.tell(
                    Event::Exited {
                        run: RunId { container, number },
                        exit,
                        at: now,
                    },
                    choices,
                );
            }
            7 | 8 => self.tell(Event::ReferencesChanged, choices),
            9 => {
                let spec = self.world.pod.spec.as_mut().unwrap();
                spec.containers[0].image = Some(format!("i:{}", choices.below(3)));
                self.tell(Event::Updated, choices);
            }
            10 if self.world.pod.metadata.deletion_timestamp.is_none() => {
                self.world.now = after(now, seconds(700));
                self.tell(Event::Wake, choices);
            }
            11 => self.tell(Event::Released, choices),
            12 => self.tell(
                Event::HookDone {
                    run: RunId {
                        container: named("c"),
                        number: 0,
                    },
                    hook: Hook::PreStop,
                    failure: None,
                },
                choices,
            ),
            _ => self.tell(Event::Updated, choices),
        }
    }
}

fn spec(policy: &str, inits: bool, sidecars: bool, probes: bool, hooks: bool) -> Value {
    let probe = json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 3, "failureThreshold": 2 });
    let hook = json!({ "preStop": { "httpGet": { "port": 80 } }, "postStart": { "httpGet": { "port": 80 } } });
    let container = |name: &str| {
        let mut one = json!({ "name": name, "image": "i:0" });
        if probes && name != "a" && name != "b" {
            one["livenessProbe"] = probe.clone();
            one["readinessProbe"] = probe.clone();
            one["startupProbe"] = probe.clone();
        }
        if hooks && name != "a" && name != "b" {
            one["lifecycle"] = hook.clone();
        }
        one
    };
    let sidecar = |name: &str| {
        let mut one = container(name);
        one["restartPolicy"] = json!("Always");
        one
    };
    let mut all = Vec::new();
    if inits {
        all.push(container("a"));
    }
    if sidecars {
        all.push(sidecar("s"));
        all.push(sidecar("t"));
    }
    if inits {
        all.push(container("b"));
    }
    json!({ "restartPolicy": policy, "initContainers": all, "containers": [container("c"), container("d")], "terminationGracePeriodSeconds": 20 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_ends_in_order(
        policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        (inits, sidecars, probes, hooks) in any::<(bool, bool, bool, bool)>(),
        way in 0..3_u8,
        grace in 0..40_i64,
        script in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut choices = Choices(script.iter());
        let mut sim = Sim {
            world: World::new(&spec(policy, inits, sidecars, probes, hooks)),
            due: Vec::new(),
            stops: BTreeMap::new(),
            starts: 0,
            ends: 0,
        };
        sim.tell(Event::Updated, &mut choices);
        while choices.are_left() {
            match choices.below(4) {
                0 => sim.surprise(&mut choices),
                1 => drop(sim.pass(&mut choices)),
                _ => drop(sim.answer(&mut choices)),
            }
        }
        // Now the pod has to go, or the agent.
        let began = sim.world.now;
        let mut grace = Duration::from_secs(grace.unsigned_abs());
        match way {
            0 => {
                sim.world.pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(began));
                sim.world.pod.metadata.deletion_grace_period_seconds = Some(i64::try_from(grace.as_secs()).unwrap());
                sim.tell(Event::Updated, &mut choices);
            }
            1 => {
                grace = Duration::ZERO;
                sim.tell(Event::Removed, &mut choices);
            }
            _ => sim.tell(Event::Shutdown { deadline: after(began, grace) }, &mut choices),
        }
        for _ in 0..10_000 {
            let rests = way == 2 && sim.world.state.has_ended();
            if sim.world.state.is_gone() || rests {
                break;
            }
            if !sim.answer(&mut choices) && !sim.pass(&mut choices) {
                break;
            }
        }
        prop_assert!(sim.world.state.is_gone() || (way == 2 && sim.world.state.stage() == &Stage::Ended), "stuck in {:?}", sim.world.state);
        let took = until(began, sim.world.now);
        prop_assert!(took <= grace + BOUND, "took {took:?} with a grace of {grace:?}");
        prop_assert!(sim.world.alive.is_empty(), "left alive: {:?}", sim.world.alive);
        prop_assert_eq!(sim.starts, sim.ends, "every start ends exactly once");
        let releases = sim.world.effects.iter().filter(|effect| **effect == Effect::Release).count();
        let prepares = sim.world.effects.iter().filter(|effect| **effect == Effect::Prepare).count();
        prop_assert!(releases <= 1 && releases <= prepares);
    }
}
