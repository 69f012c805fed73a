//! Readings of a pod's spec, with the defaults that hold when the API server did not fill them in.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, Probe};

use crate::{event::Hook, probes::Kind, state::Role};

/// The seconds a pod gets to end when its spec does not say.
const DEFAULT_GRACE: u64 = 30;

/// When a pod's containers are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

pub(crate) fn restart_policy(pod: &Pod) -> RestartPolicy {
    let policy = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref());
    match policy {
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        _ => RestartPolicy::Always,
    }
}

/// The pod with its ephemeral containers among its others, where everything that asks for a container by its name finds them. They stay in their own list as
/// well, which says which they are.
#[must_use]
pub fn with_ephemeral(mut pod: Pod) -> Pod {
    let Some(spec) = &mut pod.spec else {
        return pod;
    };
    for one in spec.ephemeral_containers.iter().flatten() {
        let container = Container {
            name: one.name.clone(),
            image: one.image.clone(),
            image_pull_policy: one.image_pull_policy.clone(),
            command: one.command.clone(),
            args: one.args.clone(),
            env: one.env.clone(),
            env_from: one.env_from.clone(),
            volume_mounts: one.volume_mounts.clone(),
            working_dir: one.working_dir.clone(),
            security_context: one.security_context.clone(),
            stdin: one.stdin,
            stdin_once: one.stdin_once,
            tty: one.tty,
            ..Container::default()
        };
        if spec.containers.iter().all(|known| known.name != one.name) {
            spec.containers.push(container);
        }
    }
    pod
}

fn is_ephemeral(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.as_ref();
    let list = spec.and_then(|spec| spec.ephemeral_containers.as_ref());
    list.into_iter().flatten().any(|one| one.name == name)
}

/// The containers with their roles: init containers in order, then the others.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    let spec = pod.spec.as_ref();
    let inits = spec
        .and_then(|spec| spec.init_containers.as_ref())
        .into_iter()
        .flatten();
    let mains = spec.map(|spec| &spec.containers).into_iter().flatten();
    inits
        .map(|one| (init_role(one), one))
        .chain(mains.map(|one| {
            let role = if is_ephemeral(pod, &one.name) {
                Role::Ephemeral
            } else {
                Role::Main
            };
            (role, one)
        }))
}

fn init_role(container: &Container) -> Role {
    match container.restart_policy.as_deref() {
        Some("Always") => Role::Sidecar,
        _ => Role::Init,
    }
}

pub(crate) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    containers(pod)
        .map(|(_, one)| one)
        .find(|one| one.name == name)
}

/// The image that the spec names for a container.
pub(crate) fn image<'a>(pod: &'a Pod, name: &str) -> &'a str {
    container(pod, name)
        .and_then(|one| one.image.as_deref())
        .unwrap_or_default()
}

pub(crate) fn probe(container: &Container, kind: Kind) -> Option<&Probe> {
    match kind {
        Kind::Startup => container.startup_probe.as_ref(),
        Kind::Liveness => container.liveness_probe.as_ref(),
        Kind::Readiness => container.readiness_probe.as_ref(),
    }
}

/// A container's hook.
#[must_use]
pub fn hook_of(container: &Container, hook: Hook) -> Option<&LifecycleHandler> {
    let lifecycle = container.lifecycle.as_ref()?;
    match hook {
        Hook::PostStart => lifecycle.post_start.as_ref(),
        Hook::PreStop => lifecycle.pre_stop.as_ref(),
    }
}

/// How long the pod's containers get to end.
pub(crate) fn grace(pod: &Pod) -> Duration {
    let given = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    Duration::from_secs(seconds(given).unwrap_or(DEFAULT_GRACE))
}

/// How long they get by the request that deletes the pod; nothing when it is not being deleted.
pub(crate) fn deletion_grace(pod: &Pod) -> Option<Duration> {
    pod.metadata.deletion_timestamp.as_ref()?;
    let given = seconds(pod.metadata.deletion_grace_period_seconds);
    Some(given.map_or_else(|| grace(pod), Duration::from_secs))
}

/// How long the pod may be active.
pub(crate) fn active_deadline(pod: &Pod) -> Option<Duration> {
    let given = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.active_deadline_seconds);
    seconds(given).map(Duration::from_secs)
}

/// The pod as messages name it.
pub(crate) fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}

pub(crate) fn seconds(given: Option<i64>) -> Option<u64> {
    given.and_then(|seconds| u64::try_from(seconds).ok())
}
