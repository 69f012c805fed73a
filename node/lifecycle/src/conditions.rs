//! The pod's conditions and since when they hold (upstream: `pkg/kubelet/status/generate.go`).

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::{
    state::{Cause, Condition, Container, Ctx, Held, Phase, Role, State},
    status::{self, PodPhase},
};

/// Those that this node decides on.
pub(crate) const OWN: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// What a condition is now, without its history.
struct Now {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Now {
    fn holds() -> Self {
        Self {
            holds: true,
            reason: None,
            message: None,
        }
    }

    fn lacks(reason: &'static str, message: Option<String>) -> Self {
        Self {
            holds: false,
            reason: Some(reason),
            message,
        }
    }
}

/// Brings the conditions up to date; says whether any changed.
pub(crate) fn refresh(state: &mut State, ctx: &Ctx<'_>) -> bool {
    if matches!(&state.ending, Some(ending) if matches!(ending.cause, Cause::Refused { .. })) {
        // The pod never was this node's.
        return false;
    }
    let containers_ready = containers_ready(state, ctx);
    let ready = gates(&containers_ready, ctx.pod);
    let all = [
        (
            "PodReadyToStartContainers",
            Now {
                holds: state.held == Held::Yes,
                reason: None,
                message: None,
            },
        ),
        ("Initialized", initialized(state, ctx)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Now::holds()),
    ];
    let mut changed = false;
    for (of, now) in all {
        changed |= set(&mut state.conditions, of, now, ctx.now);
    }
    changed
}

fn set(
    conditions: &mut BTreeMap<&'static str, Condition>,
    of: &'static str,
    now: Now,
    at: Timestamp,
) -> bool {
    let since = conditions
        .get(of)
        .filter(|old| old.holds == now.holds)
        .map_or(at, |old| old.since);
    let new = Condition {
        holds: now.holds,
        reason: now.reason.map(Cow::Borrowed),
        message: now.message,
        since,
    };
    if conditions.get(of) == Some(&new) {
        return false;
    }
    conditions.insert(of, new);
    true
}

fn initialized(state: &State, ctx: &Ctx<'_>) -> Now {
    let is_incomplete = |one: &&Container| match one.role {
        Role::Init => !matches!(one.done(), Some(Some(ended)) if ended.exit_code == 0),
        Role::Sidecar => !one.is_started(),
        Role::Main | Role::Ephemeral => false,
    };
    if state
        .mains()
        .any(|one| one.live().is_some() || one.run > 0 || one.id.is_some())
    {
        // They began, so it was done once.
        return Now::holds();
    }
    let incomplete: Vec<&str> = state
        .containers
        .iter()
        .filter(is_incomplete)
        .map(|one| &*one.name)
        .collect();
    if incomplete.is_empty() {
        return Now::holds();
    }
    if status::phase(state, ctx) == PodPhase::Succeeded {
        return Now {
            holds: true,
            reason: Some("PodCompleted"),
            message: None,
        };
    }
    Now::lacks(
        "ContainersNotInitialized",
        Some(format!(
            "containers with incomplete status: [{}]",
            incomplete.join(" ")
        )),
    )
}

fn containers_ready(state: &State, ctx: &Ctx<'_>) -> Now {
    match status::phase(state, ctx) {
        PodPhase::Succeeded => return Now::lacks("PodCompleted", None),
        PodPhase::Failed => return Now::lacks("PodFailed", None),
        PodPhase::Pending | PodPhase::Running => {}
    }
    let unready: Vec<&str> = state
        .containers
        .iter()
        .filter(|one| !matches!(one.role, Role::Init | Role::Ephemeral) && !one.is_ready())
        .map(|one| &*one.name)
        .collect();
    if unready.is_empty() {
        return Now::holds();
    }
    Now::lacks(
        "ContainersNotReady",
        Some(format!(
            "containers with unready status: [{}]",
            unready.join(" ")
        )),
    )
}

/// Readiness with the conditions that others set (KEP-580).
fn gates(containers: &Now, pod: &Pod) -> Now {
    if !containers.holds {
        return Now {
            holds: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let gates = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.readiness_gates.as_ref())
        .into_iter()
        .flatten();
    let mut problems = Vec::new();
    for gate in gates {
        let of = &gate.condition_type;
        match coracle_api::pods::condition(pod, of) {
            None => problems.push(format!(
                "corresponding condition of pod readiness gate \"{of}\" does not exist."
            )),
            Some(condition) if condition.status != "True" => {
                problems.push(format!(
                    "the status of pod readiness gate \"{of}\" is not \"True\", but {}",
                    condition.status
                ));
            }
            Some(_) => {}
        }
    }
    if problems.is_empty() {
        return Now::holds();
    }
    Now::lacks("ReadinessGatesNotReady", Some(problems.join(", ")))
}

/// As the API has them.
pub(crate) fn written(state: &State, generation: Option<i64>) -> Vec<PodCondition> {
    let one = |of: &&'static str| {
        let condition = state.conditions.get(*of)?;
        Some(PodCondition {
            type_: (*of).to_owned(),
            status: if condition.holds { "True" } else { "False" }.to_owned(),
            reason: condition.reason.as_ref().map(ToString::to_string),
            message: condition.message.clone(),
            last_transition_time: Some(Time(condition.since)),
            observed_generation: generation,
            last_probe_time: None,
        })
    };
    OWN.iter().filter_map(one).collect()
}

/// Since when the conditions held that an earlier worker wrote.
pub(crate) fn remembered(pod: &Pod) -> BTreeMap<&'static str, Condition> {
    let one = |of: &&'static str| {
        let written = coracle_api::pods::condition(pod, of)?;
        let since = written.last_transition_time.as_ref()?.0;
        Some((
            *of,
            Condition {
                holds: written.status == "True",
                reason: written.reason.clone().map(Cow::Owned),
                message: written.message.clone(),
                since,
            },
        ))
    };
    OWN.iter().filter_map(one).collect()
}

/// Whether a container that ended did so for good and well.
pub(crate) fn has_succeeded(container: &Container) -> bool {
    match &container.phase {
        Phase::Done { ended: Some(ended) } => ended.exit_code == 0,
        Phase::Done { ended: None }
        | Phase::Waiting
        | Phase::Fetching
        | Phase::FetchFailed { .. }
        | Phase::Starting
        | Phase::Unconfigured { .. }
        | Phase::Running(_)
        | Phase::Stopping { .. }
        | Phase::Exited { .. }
        | Phase::BackOff { .. } => false,
    }
}
