//! Readings of pods that several planners share: since when a pod is ready, when it becomes available, when it ended, how often it restarted.

use coracle_api::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Since when the pod has been ready; `None` when it is not.
#[must_use]
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = pods::condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// When a pod that is ready now counts as available; `None` when it is not ready.
#[must_use]
pub fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    if !pods::is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(Timestamp::MIN);
    }
    let since = ready_since(pod)?;
    Some(after(since, i64::from(min_ready_seconds)))
}

/// Whether a pod is ready and has been for long enough.
#[must_use]
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    available_at(pod, min_ready_seconds).is_some_and(|at| at <= now)
}

/// The states of the containers, init containers first.
pub fn container_statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let main = status.and_then(|status| status.container_statuses.as_ref());
    init.into_iter().chain(main).flatten()
}

/// How often the container that restarted most has restarted.
#[must_use]
pub fn restarts(pod: &Pod) -> i32 {
    let statuses = container_statuses(pod);
    statuses
        .map(|status| status.restart_count)
        .max()
        .unwrap_or(0)
}

/// When a pod that has ended did so: the last container's end, or the best guess where no container tells.
#[must_use]
pub fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let ends = container_statuses(pod)
        .filter_map(|status| status.state.as_ref()?.terminated.as_ref())
        .filter_map(|ended| ended.finished_at.as_ref())
        .map(|time| time.0);
    let of_condition = || {
        let ready = pods::condition(pod, "Ready")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    };
    let of_meta = || {
        let meta = &pod.metadata;
        let time = meta
            .deletion_timestamp
            .as_ref()
            .or(meta.creation_timestamp.as_ref());
        time.map(|time| time.0)
    };
    ends.max().or_else(of_condition).or_else(of_meta)
}

/// So many seconds later.
#[must_use]
pub fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}
