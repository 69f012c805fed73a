//! A pod, its worker's state, a clock, and what is known to run: checks at every step what must always hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::{Value, json};

use crate::{
    Ctx, Effect, Event, Exit, FetchFault, Image, RunId, StartFault, State, adopt,
    restart::after,
    state::Stage,
    status::{self, PodPhase},
    step,
};

pub(super) struct World {
    pub(super) pod: Pod,
    pub(super) state: State,
    pub(super) now: Timestamp,
    /// Instances that were asked for and have not ended.
    pub(super) alive: BTreeSet<RunId>,
    pub(super) effects: Vec<Effect>,
}

pub(super) const HOST: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1))];

/// A pod with this spec, bound to a node.
pub(super) fn pod(spec: &Value) -> Pod {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "u1", "generation": 1 },
        "spec": spec,
        "status": { "phase": "Pending", "qosClass": "BestEffort" }
    }))
    .unwrap();
    pod.spec.as_mut().unwrap().node_name = Some("n1".to_owned());
    pod
}

impl World {
    pub(super) fn new(spec: &Value) -> Self {
        Self::of(pod(spec))
    }

    pub(super) fn of(pod: Pod) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let state = State::adopt(&pod, now);
        Self {
            pod,
            state,
            now,
            alive: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    pub(super) fn ctx(&self) -> Ctx<'_> {
        Ctx {
            pod: &self.pod,
            now: self.now,
            host_ips: &HOST,
        }
    }

    pub(super) fn status(&self) -> PodStatus {
        status::status(&self.state, &self.ctx())
    }

    pub(super) fn phase(&self) -> &'static str {
        status::phase(&self.state, &self.ctx()).as_str()
    }

    pub(super) fn container(&self, name: &str) -> ContainerStatus {
        let status = self.status();
        let lists = [
            status.init_container_statuses,
            status.container_statuses,
            status.ephemeral_container_statuses,
        ];
        let mut all = lists.into_iter().flatten().flatten();
        all.find(|one| one.name == name).unwrap()
    }

    /// The state of a container in short: `Waiting:CrashLoopBackOff`, `Running`, `Terminated:Error:1`.
    pub(super) fn shown(&self, name: &str) -> String {
        let state = self.container(name).state.unwrap();
        match (state.waiting, state.running, state.terminated) {
            (Some(waiting), None, None) => format!("Waiting:{}", waiting.reason.unwrap()),
            (None, Some(_), None) => "Running".to_owned(),
            (None, None, Some(over)) => {
                format!("Terminated:{}:{}", over.reason.unwrap(), over.exit_code)
            }
            other => panic!("one state at a time: {other:?}"),
        }
    }

    pub(super) fn condition(&self, of: &str) -> String {
        let conditions = self.status().conditions.unwrap();
        let one = conditions.into_iter().find(|one| one.type_ == of).unwrap();
        match one.reason {
            Some(reason) => format!("{}:{reason}", one.status),
            None => one.status,
        }
    }

    /// Moves the worker on, checks what must always hold, and says what it wants done.
    pub(super) fn tell(&mut self, event: Event) -> Vec<Effect> {
        match &event {
            Event::StartFailed { run, .. } | Event::Exited { run, .. } => {
                assert!(self.alive.remove(run), "{run:?} was asked for")
            }
            _ => {}
        }
        let before = self.status();
        let was_final = matches!(
            status::phase(&self.state, &self.ctx()),
            PodPhase::Succeeded | PodPhase::Failed
        );
        let (state, effects) = step(self.state.clone(), event.clone(), &self.ctx());
        self.state = state;
        for effect in &effects {
            if let Effect::Start { run } = effect {
                let rival = self.alive.iter().find(|one| one.container == run.container);
                assert_eq!(rival, None, "two instances of {run:?}");
                assert!(!was_final, "an ended pod starts {run:?}");
                self.alive.insert(run.clone());
            }
        }
        let now = self.status();
        if before != now && !self.state.removed {
            assert!(
                effects.contains(&Effect::Publish),
                "{event:?} changed the status unheard:\n{before:?}\n{now:?}"
            );
        }
        if was_final {
            assert_eq!(before.phase, now.phase, "a terminated pod stays terminated");
        }
        let counts = |status: &PodStatus| -> BTreeMap<String, i32> {
            let lists = [&status.init_container_statuses, &status.container_statuses];
            lists
                .into_iter()
                .flatten()
                .flatten()
                .map(|one| (one.name.clone(), one.restart_count))
                .collect()
        };
        let after = counts(&now);
        for (name, count) in counts(&before) {
            assert!(
                after.get(&name).is_none_or(|now| *now >= count),
                "restart count of {name} fell"
            );
        }
        self.effects.extend(effects.iter().cloned());
        effects
    }

    pub(super) fn run(&self, name: &str) -> RunId {
        self.state.run_of(name).unwrap().0
    }

    /// Lets time pass and wakes the worker as often as it asks for.
    pub(super) fn pass(&mut self, wait: Duration) -> Vec<Effect> {
        let end = after(self.now, wait);
        let mut all = Vec::new();
        for _ in 0..10_000 {
            match self.state.wake_at() {
                Some(wake) if wake <= end => {
                    self.now = self.now.max(wake);
                    let effects = self.tell(Event::Wake);
                    let probes: Vec<_> = effects
                        .iter()
                        .filter(|effect| matches!(effect, Effect::Probe { .. }))
                        .collect();
                    assert!(
                        self.state.wake_at() != Some(wake) || !probes.is_empty(),
                        "a wake that does nothing would come for ever"
                    );
                    all.extend(effects);
                }
                _ => {
                    self.now = end;
                    return all;
                }
            }
        }
        panic!("woken for ever");
    }

    pub(super) fn prepare(&mut self) -> Vec<Effect> {
        self.tell(Event::Updated);
        assert_eq!(self.state.stage(), &Stage::Preparing);
        self.tell(Event::Prepared {
            ips: vec!["10.244.0.7".parse().unwrap()],
        })
    }

    pub(super) fn fetched(&mut self, name: &str) -> Vec<Effect> {
        let reference = crate::spec::image(&self.pod, name).to_owned();
        let id = format!("{reference}@sha256:0123");
        self.tell(Event::Fetched {
            run: self.run(name),
            image: Image { reference, id },
        })
    }

    pub(super) fn fetch_failed(&mut self, name: &str, fault: FetchFault) -> Vec<Effect> {
        self.tell(Event::FetchFailed {
            run: self.run(name),
            fault,
            message: "not there".to_owned(),
        })
    }

    pub(super) fn started(&mut self, name: &str) -> Vec<Effect> {
        let run = self.run(name);
        let id = format!("coracle://{}-{}", run.container, run.number);
        self.tell(Event::Started { run, id })
    }

    /// Fetched and started.
    pub(super) fn up(&mut self, name: &str) -> Vec<Effect> {
        let mut all = self.fetched(name);
        all.extend(self.started(name));
        all
    }

    pub(super) fn start_failed(&mut self, name: &str, fault: StartFault) -> Vec<Effect> {
        self.tell(Event::StartFailed {
            run: self.run(name),
            fault,
            message: "secret \"s\" not found".to_owned(),
        })
    }

    pub(super) fn exit(&mut self, name: &str, exit: Exit) -> Vec<Effect> {
        self.tell(Event::Exited {
            run: self.run(name),
            exit,
            at: self.now,
        })
    }

    pub(super) fn delete(&mut self, grace: i64) -> Vec<Effect> {
        self.pod.metadata.deletion_timestamp = Some(Time(self.now));
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.tell(Event::Updated)
    }

    pub(super) fn set_image(&mut self, name: &str, image: &str) -> Vec<Effect> {
        let spec = self.pod.spec.as_mut().unwrap();
        let one = spec
            .containers
            .iter_mut()
            .find(|one| one.name == name)
            .unwrap();
        one.image = Some(image.to_owned());
        self.tell(Event::Updated)
    }

    /// The agent dies and another one takes the pod up from what was published.
    pub(super) fn restart_agent(&mut self) {
        self.pod.status = Some(self.status());
        self.state = State::adopt(&self.pod, self.now);
        self.alive.clear();
        assert_eq!(
            adopt::restart_counts(&self.pod).len(),
            self.state.containers.len()
        );
    }
}

/// The effects' names, without what is only told.
pub(super) fn names(effects: &[Effect]) -> Vec<String> {
    let run = |run: &RunId| format!("{}#{}", run.container, run.number);
    let one = |effect: &Effect| match effect {
        Effect::Prepare => Some("Prepare".to_owned()),
        Effect::Fetch { run: of } => Some(format!("Fetch {}", run(of))),
        Effect::Start { run: of } => Some(format!("Start {}", run(of))),
        Effect::Stop { run: of, grace } => Some(format!("Stop {} {grace:?}", run(of))),
        Effect::Hook {
            run: of,
            hook,
            timeout,
        } => Some(format!("Hook {} {hook:?} {timeout:?}", run(of))),
        Effect::Probe { run: of, probe, .. } => Some(format!("Probe {} {probe:?}", run(of))),
        Effect::Release => Some("Release".to_owned()),
        Effect::Confirm => Some("Confirm".to_owned()),
        Effect::Forget => Some("Forget".to_owned()),
        Effect::Publish | Effect::Tell(_) => None,
    };
    effects.iter().filter_map(one).collect()
}

/// What is told, as `Reason: message`.
pub(super) fn told(effects: &[Effect]) -> Vec<String> {
    let one = |effect: &Effect| match effect {
        Effect::Tell(note) => Some(format!("{}: {}", note.reason, note.message)),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn named(name: &str) -> Arc<str> {
    Arc::from(name)
}
