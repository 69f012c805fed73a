//! The one function of the state machine: absorbs an event, then does what is due.
#![warn(clippy::wildcard_enum_match_arm)]

use crate::{
    advance, conditions,
    effect::{Effect, Note},
    ending,
    event::{Event, RunId},
    restart::after,
    spec,
    state::{Cause, Container, Ctx, Held, Role, Stage, State},
};

/// Moves a pod's worker on.
///
/// # Guarantees
/// Total: every event is taken in every stage; one that answers a question nobody asks any more changes nothing. An instance of a container is asked for
/// only after the run before has ended. Restart counts never fall. A pod whose end was decided does not come back.
/// Effects are to be executed in order; [`Effect::Publish`] is among them exactly when [`crate::status::status`] changed in a way the API server should hear of.
#[must_use]
pub fn step(mut state: State, event: Event, ctx: &Ctx<'_>) -> (State, Vec<Effect>) {
    let mut out = Out::default();
    take_up(&mut state, ctx, &mut out);
    absorb(&mut state, event, ctx, &mut out);
    state.active_until = spec::active_deadline(ctx.pod).map(|limit| after(state.start_time, limit));
    ending::notice(&mut state, ctx, &mut out);
    advance::advance(&mut state, ctx, &mut out);
    out.changed |= conditions::refresh(&mut state, ctx);
    let effects = out.finish(state.removed);
    (state, effects)
}

/// Takes up the ephemeral containers that the pod has got since.
fn take_up(state: &mut State, ctx: &Ctx<'_>, out: &mut Out) {
    if state.has_ended() {
        return;
    }
    for (role, one) in spec::containers(ctx.pod) {
        let is_known = state
            .containers
            .iter()
            .any(|known| *known.name == *one.name);
        if role == Role::Ephemeral && !is_known {
            let name = one.name.as_str().into();
            state.containers.push(Container::new(name, role));
            out.changed = true;
        }
    }
}

/// What a step puts out.
#[derive(Debug, Default)]
pub(crate) struct Out {
    effects: Vec<Effect>,
    /// The status changed.
    pub(crate) changed: bool,
}

impl Out {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn tell(&mut self, note: Note) {
        self.effects.push(Effect::Tell(note));
    }

    /// The effects in order. The status is told after what changed it was begun, and before the object is given up.
    fn finish(mut self, removed: bool) -> Vec<Effect> {
        if self.changed && !removed {
            let last = self
                .effects
                .iter()
                .position(|effect| matches!(effect, Effect::Confirm | Effect::Forget));
            self.effects
                .insert(last.unwrap_or(self.effects.len()), Effect::Publish);
        }
        self.effects
    }
}

/// Records a fact.
fn absorb(state: &mut State, event: Event, ctx: &Ctx<'_>, out: &mut Out) {
    match event {
        // Read from the context, below.
        Event::Updated | Event::Wake => {}
        Event::Removed => state.removed = true,
        Event::Refused { reason, message } => match state.stage {
            Stage::New => ending::begin(state, Cause::Refused { reason, message }, ctx.now),
            // Too late: the pod has its place.
            Stage::Preparing
            | Stage::PrepareFailed { .. }
            | Stage::Active
            | Stage::Terminating
            | Stage::Releasing
            | Stage::Ended
            | Stage::Confirming
            | Stage::Gone => {}
        },
        Event::Prepared { ips } => match state.stage {
            Stage::Preparing => {
                state.held = Held::Yes;
                state.ips = ips;
                state.prepare_retry.succeeded();
                state.stage = Stage::Active;
                out.changed = true;
            }
            Stage::Terminating if state.held == Held::Asked => state.held = Held::Yes,
            Stage::New
            | Stage::PrepareFailed { .. }
            | Stage::Active
            | Stage::Terminating
            | Stage::Releasing
            | Stage::Ended
            | Stage::Confirming
            | Stage::Gone => {}
        },
        Event::PrepareFailed { reason, message } => match state.stage {
            Stage::Preparing => {
                state.held = Held::No;
                let retry = state.prepare_retry.failed(ctx.now);
                out.tell(Note::pod_warning(reason, message.clone()));
                state.stage = Stage::PrepareFailed {
                    reason,
                    message,
                    retry,
                };
                out.changed = true;
            }
            Stage::Terminating if state.held == Held::Asked => state.held = Held::No,
            Stage::New
            | Stage::PrepareFailed { .. }
            | Stage::Active
            | Stage::Terminating
            | Stage::Releasing
            | Stage::Ended
            | Stage::Confirming
            | Stage::Gone => {}
        },
        Event::Fetched { run, image } => {
            if let Some(container) = of_run(state, &run) {
                container.fetched(image, ctx, out);
            }
        }
        Event::FetchFailed {
            run,
            fault,
            message,
        } => {
            if let Some(container) = of_run(state, &run) {
                container.fetch_failed(fault, message, ctx, out);
            }
        }
        Event::Started { run, id } => {
            if let Some(container) = of_run(state, &run) {
                container.started(id, ctx, out);
            }
        }
        Event::StartFailed {
            run,
            fault,
            message,
        } => {
            if let Some(container) = of_run(state, &run) {
                container.start_failed(fault, message, ctx, out);
            }
        }
        Event::Exited { run, exit, at } => {
            if let Some(container) = of_run(state, &run) {
                container.exited(exit, at, out);
            }
        }
        Event::Probed {
            run,
            probe,
            failure,
        } => {
            if let Some(container) = of_run(state, &run) {
                container.probed(probe, failure, ctx, out);
            }
        }
        Event::HookDone { run, hook, failure } => {
            if let Some(container) = of_run(state, &run) {
                container.hook_done(hook, failure, ctx, out);
            }
        }
        Event::ReferencesChanged => match state.stage {
            Stage::PrepareFailed { .. } => prepare(state, out),
            Stage::Active => {
                for container in &mut state.containers {
                    container.references_changed(out);
                }
            }
            Stage::New
            | Stage::Preparing
            | Stage::Terminating
            | Stage::Releasing
            | Stage::Ended
            | Stage::Confirming
            | Stage::Gone => {}
        },
        Event::Released => match state.stage {
            Stage::Releasing => {
                state.held = Held::No;
                state.stage = Stage::Ended;
                out.changed = true;
            }
            Stage::New
            | Stage::Preparing
            | Stage::PrepareFailed { .. }
            | Stage::Active
            | Stage::Terminating
            | Stage::Ended
            | Stage::Confirming
            | Stage::Gone => {}
        },
        Event::Shutdown { deadline } => {
            state.shutdown = true;
            ending::begin(state, Cause::Shutdown, deadline);
        }
    }
}

/// Asks for the pod's network and volumes.
pub(crate) fn prepare(state: &mut State, out: &mut Out) {
    state.stage = Stage::Preparing;
    state.held = Held::Asked;
    out.push(Effect::Prepare);
    out.changed = true;
}

/// The container that a run is the present one of.
fn of_run<'a>(state: &'a mut State, run: &RunId) -> Option<&'a mut Container> {
    state
        .containers
        .iter_mut()
        .find(|one| one.name == run.container && one.run == run.number)
}
