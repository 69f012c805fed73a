//! How one container is stopped: its hook, the request, and what is told about it.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    effect::{Effect, Note},
    event::Hook,
    restart::{after, until},
    spec::{self, RestartPolicy},
    state::{Container, Ctx, Phase, Role, StopCause},
    step::Out,
};

/// What an instance gets to end when its `preStop` hook used up its grace period. The kubelet's value.
const AFTER_HOOK: Duration = Duration::from_secs(2);

impl Container {
    pub(crate) fn hook_done(
        &mut self,
        hook: Hook,
        failure: Option<String>,
        ctx: &Ctx<'_>,
        out: &mut Out,
    ) {
        match (&mut self.phase, hook) {
            (Phase::Running(live), Hook::PostStart) => {
                live.hooked = failure.is_none();
                out.changed = true;
                self.hook_failed(hook, failure.as_deref(), out);
                if failure.is_some() {
                    self.stop(
                        StopCause::PostStart,
                        after(ctx.now, spec::grace(ctx.pod)),
                        ctx,
                        out,
                    );
                }
            }
            (Phase::Stopping { asked: false, .. }, Hook::PreStop) => {
                self.hook_failed(hook, failure.as_deref(), out);
                self.ask(true, ctx, out);
            }
            // A hook of an instance that no longer waits for it.
            (Phase::Stopping { .. }, Hook::PostStart | Hook::PreStop)
            | (Phase::Running(_), Hook::PreStop) => {}
            (
                Phase::Waiting
                | Phase::Fetching
                | Phase::FetchFailed { .. }
                | Phase::Starting
                | Phase::Unconfigured { .. }
                | Phase::Exited { .. }
                | Phase::BackOff { .. }
                | Phase::Done { .. },
                Hook::PostStart | Hook::PreStop,
            ) => {}
        }
    }

    fn hook_failed(&self, hook: Hook, failure: Option<&str>, out: &mut Out) {
        let (reason, title) = match hook {
            Hook::PostStart => ("FailedPostStartHook", "PostStartHook"),
            Hook::PreStop => ("FailedPreStopHook", "PreStopHook"),
        };
        if let Some(failure) = failure {
            out.tell(Note::warning(
                &self.name,
                reason,
                format!("{title} failed: {failure}"),
            ));
        }
    }

    /// Makes a running instance end: its hook first, if it has one and there is time.
    pub(crate) fn stop(
        &mut self,
        cause: StopCause,
        deadline: Timestamp,
        ctx: &Ctx<'_>,
        out: &mut Out,
    ) {
        let live = match &self.phase {
            Phase::Running(live) => live.clone(),
            Phase::Waiting
            | Phase::Fetching
            | Phase::FetchFailed { .. }
            | Phase::Starting
            | Phase::Unconfigured { .. }
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => return,
        };
        out.tell(Note::normal(
            &self.name,
            "Killing",
            self.killing(cause, ctx),
        ));
        let hook =
            spec::container(ctx.pod, &self.name).and_then(|of| spec::hook_of(of, Hook::PreStop));
        let at_once = hook.is_none() || deadline <= ctx.now;
        self.phase = Phase::Stopping {
            live,
            cause,
            asked: false,
            deadline,
        };
        out.changed = true;
        if at_once {
            self.ask(false, ctx, out);
        } else {
            out.push(Effect::Hook {
                run: self.run_id(),
                hook: Hook::PreStop,
                timeout: until(ctx.now, deadline),
            });
        }
    }

    /// The instance is asked to stop. After a hook it gets a little time even if the hook took all of it.
    pub(super) fn ask(&mut self, hooked: bool, ctx: &Ctx<'_>, out: &mut Out) {
        let run = self.run_id();
        if let Phase::Stopping {
            asked, deadline, ..
        } = &mut self.phase
        {
            *asked = true;
            let left = until(ctx.now, *deadline);
            let grace = if hooked { left.max(AFTER_HOOK) } else { left };
            out.push(Effect::Stop { run, grace });
        }
    }

    /// The pod ends, perhaps sooner than an instance that is already being stopped was told.
    pub(crate) fn hurry(&mut self, sooner: Timestamp, ctx: &Ctx<'_>, out: &mut Out) {
        let run = self.run_id();
        let Phase::Stopping {
            asked,
            deadline,
            cause,
            ..
        } = &mut self.phase
        else {
            return;
        };
        *cause = StopCause::PodEnds;
        let hastens = sooner < *deadline;
        *deadline = sooner.min(*deadline);
        let left = until(ctx.now, *deadline);
        if *asked && hastens {
            out.push(Effect::Stop { run, grace: left });
        } else if !*asked && left.is_zero() {
            // Out of time by itself it gets what a hook leaves; told to end at once it does.
            self.ask(!hastens, ctx, out);
        }
    }

    fn killing(&self, cause: StopCause, ctx: &Ctx<'_>) -> String {
        let name = &self.name;
        let what = match cause {
            StopCause::PodEnds => return format!("Stopping container {name}"),
            StopCause::Changed => {
                return format!("Container {name} definition changed, will be restarted");
            }
            StopCause::PostStart => format!("Container {name} failed its postStart hook"),
            StopCause::Probe(kind) => format!(
                "Container {name} failed {} probe",
                kind.title().to_lowercase()
            ),
        };
        let is_last = spec::restart_policy(ctx.pod) == RestartPolicy::Never;
        if self.role == Role::Ephemeral || (self.role != Role::Sidecar && is_last) {
            return what;
        }
        format!("{what}, will be restarted")
    }
}
