//! What is due in the pod as a whole, whatever event brought it about.

use crate::{
    effect::Effect,
    ending::{self, release, wind_down},
    restart::after,
    spec,
    state::{Cause, Ctx, Phase, Role, Stage, State},
    step::{Out, prepare},
};

/// Does what is due. Stages lead to later ones only, so that this ends.
pub(crate) fn advance(state: &mut State, ctx: &Ctx<'_>, out: &mut Out) {
    if state.stage == Stage::New && state.ending.is_none() {
        prepare(state, out);
    }
    if let Stage::PrepareFailed { retry, .. } = &state.stage
        && *retry <= ctx.now
        && state.ending.is_none()
    {
        prepare(state, out);
    }
    if state.stage == Stage::Active && state.ending.is_none() {
        run_containers(state, ctx, out);
        if is_complete(state) {
            ending::begin(
                state,
                Cause::Completed,
                after(ctx.now, spec::grace(ctx.pod)),
            );
        }
    }
    if state.ending.is_some() {
        match state.stage {
            Stage::New | Stage::Preparing | Stage::PrepareFailed { .. } | Stage::Active => {
                state.stage = Stage::Terminating;
                out.changed = true;
            }
            Stage::Terminating
            | Stage::Releasing
            | Stage::Ended
            | Stage::Confirming
            | Stage::Gone => {}
        }
    }
    if state.stage == Stage::Terminating && wind_down(state, ctx, out) {
        release(state, out);
    }
    if state.stage == Stage::Ended {
        if state.removed {
            forget(state, out);
        } else if ctx.pod.metadata.deletion_timestamp.is_some() {
            state.stage = Stage::Confirming;
            out.push(Effect::Confirm);
        }
    }
    if state.stage == Stage::Confirming && state.removed {
        forget(state, out);
    }
    // Whoever waits for the API server's answer would wait for the next agent's time.
    if state.shutdown && matches!(state.stage, Stage::Ended | Stage::Confirming) {
        state.stage = Stage::Gone;
    }
}

fn forget(state: &mut State, out: &mut Out) {
    state.stage = Stage::Gone;
    out.push(Effect::Forget);
}

/// Init containers in order, each after the one before is done (or, a sidecar, started); then the others together.
fn run_containers(state: &mut State, ctx: &Ctx<'_>, out: &mut Out) {
    let mut may_begin = true;
    for container in &mut state.containers {
        container.tick(ctx, out);
        let is_due = may_begin || container.role == Role::Ephemeral;
        if is_due && container.phase == Phase::Waiting {
            container.begin(ctx, out);
        }
        may_begin &= match container.role {
            Role::Init => matches!(container.done(), Some(Some(ended)) if ended.exit_code == 0),
            Role::Sidecar => container.is_started(),
            Role::Main | Role::Ephemeral => true,
        };
    }
}

/// Whether nothing will run any more: the pod's containers are done, or initialization has failed for good.
fn is_complete(state: &State) -> bool {
    let failed = |one: &crate::state::Container| matches!(one.done(), Some(ended) if ended.is_none_or(|ended| ended.exit_code != 0));
    state.mains().all(|one| one.done().is_some())
        || state
            .containers
            .iter()
            .any(|one| one.role == Role::Init && failed(one))
}
