//! Takes a pod up: one that was just bound to the node, or one that an earlier life of the agent ran. What that one wrote to the status is all that is left
//! of it: no instance outlives its agent.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use crate::{
    conditions,
    container::CODE_UNKNOWN,
    event::Image,
    restart::RetryBackOff,
    spec::{self, RestartPolicy},
    state::{Cause, Container, Ended, Ending, Held, Phase, Role, Stage, State},
};

impl State {
    /// A worker's first state for `pod`.
    ///
    /// Restart counts go on from where they were. A container that ran is started again (and counted) where the restart policy allows; where it does not,
    /// the run ended in an unknown way. Init containers run again unless the policy is `Never`, as they do after a node's reboot. A pod that had ended stays so.
    #[must_use]
    pub fn adopt(pod: &Pod, now: Timestamp) -> Self {
        let status = pod.status.as_ref();
        let has_ended = coracle_api::pods::is_terminal(pod);
        let policy = spec::restart_policy(pod);
        let containers = spec::containers(pod).map(|(role, one)| {
            let mut container = Container::new(Arc::from(one.name.as_str()), role);
            if let Some(known) = written(pod, role, &one.name) {
                resume(&mut container, known, policy, has_ended, now);
            }
            if has_ended && !matches!(container.phase, Phase::Done { .. }) {
                container.phase = Phase::Done {
                    ended: container.last.clone(),
                };
            }
            container
        });
        let start_time = status
            .and_then(|status| status.start_time.as_ref())
            .map_or(now, |time| time.0);
        Self {
            stage: if has_ended { Stage::Ended } else { Stage::New },
            ending: has_ended.then(|| Ending {
                cause: past_cause(pod),
                deadline: now,
            }),
            containers: containers.collect(),
            held: Held::No,
            prepare_retry: RetryBackOff::default(),
            ips: if has_ended {
                addresses(pod)
            } else {
                Vec::new()
            },
            start_time,
            active_until: None,
            deletion_grace: None,
            removed: false,
            shutdown: false,
            conditions: conditions::remembered(pod),
        }
    }
}

/// Why a pod that has ended did, as far as its status tells.
fn past_cause(pod: &Pod) -> Cause {
    let status = pod.status.as_ref();
    let text = |of: Option<&String>| of.cloned().unwrap_or_default();
    let reason = text(status.and_then(|status| status.reason.as_ref()));
    match reason.as_str() {
        "" => Cause::Completed,
        "DeadlineExceeded" => Cause::Deadline,
        _ => Cause::Refused {
            reason,
            message: text(status.and_then(|status| status.message.as_ref())),
        },
    }
}

/// The addresses that the pod's status has.
#[must_use]
pub fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let status = pod.status.as_ref();
    let listed = status
        .and_then(|status| status.pod_ips.as_ref())
        .into_iter()
        .flatten()
        .map(|one| one.ip.as_str());
    let main = status.and_then(|status| status.pod_ip.as_deref());
    let mut all = Vec::new();
    for address in main
        .into_iter()
        .chain(listed)
        .filter_map(|text| text.parse().ok())
    {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

fn written<'a>(pod: &'a Pod, role: Role, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let list = match role {
        Role::Main => status.container_statuses.as_ref(),
        Role::Init | Role::Sidecar => status.init_container_statuses.as_ref(),
        Role::Ephemeral => status.ephemeral_container_statuses.as_ref(),
    };
    list.into_iter().flatten().find(|one| one.name == name)
}

/// Goes on from what was written about a container.
fn resume(
    container: &mut Container,
    known: &ContainerStatus,
    policy: RestartPolicy,
    has_ended: bool,
    now: Timestamp,
) {
    let count = u32::try_from(known.restart_count).unwrap_or(0);
    let state = known.state.as_ref();
    let before = known
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref())
        .map(|written| ended_of(written, count.saturating_sub(1)));
    let ran = match state {
        Some(state) if state.running.is_some() => Some(Ended {
            run: count,
            reason: Cow::Borrowed("Unknown"),
            exit_code: CODE_UNKNOWN,
            message: Some("the node agent ended while the container ran".to_owned()),
            started_at: state
                .running
                .as_ref()
                .and_then(|running| running.started_at.as_ref())
                .map(|time| time.0),
            finished_at: now,
            container_id: known.container_id.clone(),
        }),
        Some(state) => state
            .terminated
            .as_ref()
            .map(|written| ended_of(written, count)),
        None => None,
    };
    container.id.clone_from(&known.container_id);
    container.run = count;
    container.image = (!known.image_id.is_empty()).then(|| Image {
        reference: known.image.clone(),
        id: known.image_id.clone(),
    });
    let is_over = match (&ran, container.role, policy) {
        (None, _, _) => false,
        (Some(_), _, _) if has_ended => true,
        (Some(_), Role::Main | Role::Init, RestartPolicy::Never)
        | (Some(_), Role::Ephemeral, _) => true,
        (Some(ended), Role::Main, RestartPolicy::OnFailure) => ended.exit_code == 0,
        (Some(_), Role::Sidecar, _)
        | (Some(_), Role::Main, RestartPolicy::Always)
        | (Some(_), Role::Init, RestartPolicy::Always | RestartPolicy::OnFailure) => false,
    };
    if is_over {
        container.last = before;
        container.phase = Phase::Done { ended: ran };
        return;
    }
    container.last = ran.or(before);
    if container.last.is_some() {
        container.run = count.saturating_add(1);
    }
}

fn ended_of(written: &ContainerStateTerminated, run: u32) -> Ended {
    Ended {
        run,
        reason: Cow::Owned(written.reason.clone().unwrap_or_default()),
        exit_code: written.exit_code,
        message: written.message.clone(),
        started_at: written.started_at.as_ref().map(|time| time.0),
        finished_at: written
            .finished_at
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        container_id: written.container_id.clone(),
    }
}

/// The restart counts in a pod's status, by container.
#[must_use]
pub fn restart_counts(pod: &Pod) -> BTreeMap<&str, i32> {
    let status = pod.status.as_ref();
    let lists = [
        status.and_then(|status| status.init_container_statuses.as_ref()),
        status.and_then(|status| status.container_statuses.as_ref()),
    ];
    lists
        .into_iter()
        .flatten()
        .flatten()
        .map(|one| (one.name.as_str(), one.restart_count))
        .collect()
}
