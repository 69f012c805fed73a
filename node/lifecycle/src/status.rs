//! The pod's status as the API server is told it: phase, container states, addresses. Derived from the state, never remembered.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::{
    conditions::{self, has_succeeded},
    container::fault_reason,
    ending::DEADLINE_MESSAGE,
    spec::{self, RestartPolicy},
    state::{Cause, Container, Ctx, Ended, Phase, Role, Stage, State},
};

/// The pod's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// Some container has not begun yet.
    Pending,
    /// All have, and some run or will.
    Running,
    /// All ended well for good.
    Succeeded,
    /// All ended for good, some not well.
    Failed,
}

impl PodPhase {
    /// As the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// The pod's phase (upstream: `getPhase` in the kubelet). Never final while an instance runs.
#[must_use]
pub fn phase(state: &State, ctx: &Ctx<'_>) -> PodPhase {
    let has_ended = match state.stage {
        Stage::Releasing | Stage::Ended | Stage::Confirming | Stage::Gone => true,
        Stage::New
        | Stage::Preparing
        | Stage::PrepareFailed { .. }
        | Stage::Active
        | Stage::Terminating => false,
    };
    match state.ending.as_ref().map(|ending| &ending.cause) {
        Some(cause) if has_ended => match cause {
            Cause::Refused { .. } | Cause::Deadline => PodPhase::Failed,
            Cause::Completed | Cause::Deleted => final_phase(state),
            Cause::Shutdown => ongoing_phase(state, ctx),
        },
        Some(_) | None => ongoing_phase(state, ctx),
    }
}

fn final_phase(state: &State) -> PodPhase {
    let initialized = state
        .containers
        .iter()
        .filter(|one| one.role == Role::Init)
        .all(has_succeeded);
    if initialized && state.mains().all(has_succeeded) {
        PodPhase::Succeeded
    } else {
        PodPhase::Failed
    }
}

fn ongoing_phase(state: &State, ctx: &Ctx<'_>) -> PodPhase {
    let has_begun = |one: &Container| {
        one.live().is_some()
            || one.run > 0
            || one.id.is_some()
            || matches!(one.done(), Some(Some(_)))
    };
    if !state.mains().all(has_begun) {
        return PodPhase::Pending;
    }
    let policy = spec::restart_policy(ctx.pod);
    let all_done = state.mains().all(|one| one.done().is_some());
    // Sidecars still run, or the agent ends: final only if nothing would start again.
    match (&state.ending, policy) {
        (Some(ending), RestartPolicy::OnFailure | RestartPolicy::Never)
            if ending.cause == Cause::Shutdown && all_done =>
        {
            if state.mains().all(has_succeeded) {
                PodPhase::Succeeded
            } else if policy == RestartPolicy::Never {
                PodPhase::Failed
            } else {
                PodPhase::Running
            }
        }
        _ => PodPhase::Running,
    }
}

/// The pod's status. Conditions that others set are not in it.
#[must_use]
pub fn status(state: &State, ctx: &Ctx<'_>) -> PodStatus {
    let phase = phase(state, ctx);
    let (reason, message) = match state.ending.as_ref().map(|ending| &ending.cause) {
        Some(Cause::Refused { reason, message }) => (Some(reason.clone()), Some(message.clone())),
        Some(Cause::Deadline) if phase == PodPhase::Failed => (
            Some("DeadlineExceeded".to_owned()),
            Some(DEADLINE_MESSAGE.to_owned()),
        ),
        Some(Cause::Shutdown | Cause::Completed | Cause::Deleted | Cause::Deadline) | None => {
            (None, None)
        }
    };
    let known = ctx.pod.status.as_ref();
    let common = PodStatus {
        phase: Some(phase.as_str().to_owned()),
        reason,
        message,
        start_time: Some(Time(state.start_time)),
        qos_class: known.and_then(|status| status.qos_class.clone()),
        observed_generation: ctx.pod.metadata.generation,
        ..PodStatus::default()
    };
    if matches!(&state.ending, Some(ending) if matches!(ending.cause, Cause::Refused { .. })) {
        return common;
    }
    let written = |roles: &[Role]| {
        let of = |one: &&Container| roles.contains(&one.role);
        let all: Vec<_> = state
            .containers
            .iter()
            .filter(of)
            .map(|one| container(one, state, ctx))
            .collect();
        (!all.is_empty()).then_some(all)
    };
    PodStatus {
        conditions: Some(conditions::written(state, ctx.pod.metadata.generation)),
        init_container_statuses: written(&[Role::Init, Role::Sidecar]),
        container_statuses: written(&[Role::Main]),
        ephemeral_container_statuses: written(&[Role::Ephemeral]),
        pod_ip: state.ips.first().map(ToString::to_string),
        pod_ips: (!state.ips.is_empty()).then(|| {
            state
                .ips
                .iter()
                .map(|ip| PodIP { ip: ip.to_string() })
                .collect()
        }),
        host_ip: ctx.host_ips.first().map(ToString::to_string),
        host_ips: (!ctx.host_ips.is_empty()).then(|| {
            ctx.host_ips
                .iter()
                .map(|ip| HostIP { ip: ip.to_string() })
                .collect()
        }),
        ..common
    }
}

fn container(one: &Container, state: &State, ctx: &Ctx<'_>) -> ContainerStatus {
    let is_init = |one: &Container| matches!(one.role, Role::Init | Role::Sidecar);
    let has_inits = state.containers.iter().any(is_init);
    let creating = if has_inits {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    let (now, last) = states(one, creating, ctx);
    let is_done_init = one.role == Role::Init && has_succeeded(one);
    ContainerStatus {
        name: one.name.to_string(),
        image: spec::image(ctx.pod, &one.name).to_owned(),
        image_id: one
            .image
            .as_ref()
            .map(|image| image.id.clone())
            .unwrap_or_default(),
        container_id: one.id.clone(),
        ready: one.is_ready() || is_done_init,
        started: Some(one.is_started()),
        restart_count: i32::try_from(restarts(one)).unwrap_or(i32::MAX),
        state: Some(now),
        last_state: last,
        ..ContainerStatus::default()
    }
}

/// How often the container was started again. A run counts once its instance was asked for.
fn restarts(one: &Container) -> u32 {
    match one.phase {
        Phase::Waiting
        | Phase::Fetching
        | Phase::FetchFailed { .. }
        | Phase::Starting
        | Phase::Unconfigured { .. } => one.run.saturating_sub(1),
        Phase::Running(_)
        | Phase::Stopping { .. }
        | Phase::Exited { .. }
        | Phase::BackOff { .. } => one.run,
        // Perhaps given up before its next run began.
        Phase::Done { ref ended } => ended
            .as_ref()
            .map_or(one.run.saturating_sub(1), |ended| ended.run),
    }
}

fn states(
    one: &Container,
    creating: &str,
    ctx: &Ctx<'_>,
) -> (ContainerState, Option<ContainerState>) {
    let last = one.last.as_ref().map(terminated);
    let now = match &one.phase {
        // Between two runs the one that ended is shown.
        Phase::Waiting | Phase::Fetching | Phase::Starting => {
            last.clone().unwrap_or_else(|| waiting(creating, None))
        }
        Phase::Done { ended: None } => waiting(creating, None),
        Phase::FetchFailed {
            fault,
            message,
            settles,
            ..
        } => {
            let settled = settles.is_none();
            let reason = fault_reason(*fault, settled);
            let message = if reason == "ImagePullBackOff" {
                format!(
                    "Back-off pulling image \"{}\": ErrImagePull: {message}",
                    spec::image(ctx.pod, &one.name)
                )
            } else {
                message.clone()
            };
            waiting(reason, Some(message))
        }
        Phase::Unconfigured { message, .. } => {
            waiting("CreateContainerConfigError", Some(message.clone()))
        }
        Phase::Running(live) | Phase::Stopping { live, .. } => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(live.started_at)),
            }),
            ..ContainerState::default()
        },
        Phase::BackOff { ended, .. } => {
            let message = format!(
                "back-off {} restarting failed container={} pod={}",
                go_duration(one.restart.delay()),
                one.name,
                spec::full_name(ctx.pod)
            );
            return (
                waiting("CrashLoopBackOff", Some(message)),
                Some(terminated(ended)),
            );
        }
        Phase::Exited { ended, .. } | Phase::Done { ended: Some(ended) } => terminated(ended),
    };
    (now, last)
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..ContainerState::default()
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            reason: Some(ended.reason.to_string()),
            exit_code: ended.exit_code,
            message: ended.message.clone(),
            started_at: ended.started_at.map(Time),
            finished_at: Some(Time(ended.finished_at)),
            container_id: ended.container_id.clone(),
            signal: None,
        }),
        ..ContainerState::default()
    }
}

/// As Go writes durations: `10s`, `1m20s`, `5m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}

/// The names of the pod's containers whose instance runs, with the numbers of their runs.
#[must_use]
pub fn running(state: &State) -> Vec<(Arc<str>, u32)> {
    let live = state.containers.iter().filter(|one| one.live().is_some());
    live.map(|one| (Arc::clone(&one.name), one.run)).collect()
}
