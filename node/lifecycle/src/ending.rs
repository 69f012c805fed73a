//! How a pod ends: who decided it, by when, and in which order its containers stop.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    effect::{Effect, Note},
    restart::after,
    spec,
    state::{Cause, Container, Ctx, Ending, Held, Phase, Role, Stage, State, StopCause},
    step::Out,
};

/// What a sidecar gets to end when the pod's own containers used up the grace period. The kubelet's value for its last words.
const SIDECAR_GRACE: Duration = Duration::from_secs(2);

/// Begins the pod's end, or hastens it: the stronger cause and the earlier deadline count.
pub(crate) fn begin(state: &mut State, cause: Cause, deadline: Timestamp) {
    match &mut state.ending {
        None => state.ending = Some(Ending { cause, deadline }),
        Some(ending) => {
            ending.deadline = ending.deadline.min(deadline);
            if cause > ending.cause {
                ending.cause = cause;
            }
        }
    }
}

/// Looks whether the pod has to end: by its object, or by its age.
pub(crate) fn notice(state: &mut State, ctx: &Ctx<'_>, out: &mut Out) {
    if state.removed {
        begin(state, Cause::Deleted, ctx.now);
    }
    if let Some(grace) = spec::deletion_grace(ctx.pod)
        && state.deletion_grace.is_none_or(|known| grace < known)
    {
        state.deletion_grace = Some(grace);
        begin(state, Cause::Deleted, after(ctx.now, grace));
    }
    let is_late = state.active_until.is_some_and(|until| until <= ctx.now);
    if is_late && state.ending.is_none() {
        out.tell(Note::pod_warning(
            "DeadlineExceeded",
            DEADLINE_MESSAGE.to_owned(),
        ));
        begin(state, Cause::Deadline, after(ctx.now, spec::grace(ctx.pod)));
    }
}

/// What the pod's status says when it was active for too long.
pub(crate) const DEADLINE_MESSAGE: &str =
    "Pod was active on the node longer than the specified deadline";

/// Stops what runs: the pod's containers together, then its sidecars one by one from the last. Says whether none is left.
pub(crate) fn wind_down(state: &mut State, ctx: &Ctx<'_>, out: &mut Out) -> bool {
    let Some(deadline) = state.ending.as_ref().map(|ending| ending.deadline) else {
        return false;
    };
    let mut left = false;
    for container in state
        .containers
        .iter_mut()
        .filter(|one| one.role != Role::Sidecar)
    {
        left |= !end(container, deadline, ctx, out);
    }
    let is_forced = state.removed || state.deletion_grace == Some(Duration::ZERO);
    let last_words = if is_forced {
        ctx.now
    } else {
        deadline.max(after(ctx.now, SIDECAR_GRACE))
    };
    for container in state
        .containers
        .iter_mut()
        .rev()
        .filter(|one| one.role == Role::Sidecar)
    {
        if left {
            // What has not begun must not begin now; what runs still serves the others.
            abandon(container, out);
        } else {
            left |= !end(container, last_words, ctx, out);
        }
    }
    !left && state.held != Held::Asked
}

/// Has a container end; says whether it has.
fn end(container: &mut Container, deadline: Timestamp, ctx: &Ctx<'_>, out: &mut Out) -> bool {
    abandon(container, out);
    match &container.phase {
        Phase::Done { .. } => true,
        Phase::Running(_) => {
            container.stop(StopCause::PodEnds, deadline, ctx, out);
            false
        }
        Phase::Stopping { .. } => {
            container.hurry(deadline, ctx, out);
            false
        }
        // Its answer is on the way and cannot be called back.
        Phase::Starting => false,
        // Given up above, so that none is left in these.
        Phase::Waiting
        | Phase::Fetching
        | Phase::FetchFailed { .. }
        | Phase::Unconfigured { .. }
        | Phase::Exited { .. }
        | Phase::BackOff { .. } => false,
    }
}

/// Gives up what is not an instance.
fn abandon(container: &mut Container, out: &mut Out) {
    let ended = match &container.phase {
        Phase::Waiting
        | Phase::Fetching
        | Phase::FetchFailed { .. }
        | Phase::Unconfigured { .. } => container.last.clone(),
        Phase::Exited { ended, .. } | Phase::BackOff { ended, .. } => Some(ended.clone()),
        Phase::Starting | Phase::Running(_) | Phase::Stopping { .. } | Phase::Done { .. } => return,
    };
    container.phase = Phase::Done { ended };
    out.changed = true;
}

/// Takes network and volumes away, or goes on at once when there are none.
pub(crate) fn release(state: &mut State, out: &mut Out) {
    match state.held {
        Held::Yes => {
            state.stage = Stage::Releasing;
            out.push(Effect::Release);
        }
        Held::No | Held::Asked => state.stage = Stage::Ended,
    }
    out.changed = true;
}
