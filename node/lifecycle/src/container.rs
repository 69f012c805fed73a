//! One container: what its events do to it and what time does. Whether its turn has come and whether the pod ends is decided elsewhere.

mod stopping;

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;

use crate::{
    effect::{Effect, Note},
    event::{Exit, FetchFault, Hook, Image, StartFault},
    probes::{Kind, Outcome, Prober, Settings},
    restart::after,
    spec::{self, RestartPolicy},
    state::{Container, Ctx, Ended, Live, Phase, Role, StopCause},
    step::Out,
};

/// How long a failed pull is shown as such before waiting is shown instead, so that those who watch see both, as with the kubelet.
const FAILURE_SHOWN: Duration = Duration::from_secs(2);
/// How often a missing config map or secret is looked for when nobody says that it came: a safety net, a change of the object is acted on at once.
const CONFIG_RETRY: Duration = Duration::from_secs(10);
/// How long a `postStart` hook may take. The kubelet waits for ever; a pod that never starts and never fails helps nobody.
const POST_START: Duration = Duration::from_secs(600);

// Exit codes beside the guest's own, as a shell would report the Unix process that met the same end.
const CODE_START: i32 = 128;
const CODE_TRAP: i32 = 134;
const CODE_KILLED: i32 = 137;
const CODE_STOPPED: i32 = 143;
const CODE_FUEL: i32 = 152;
/// What is known of a run when the agent that ran it is gone.
pub(crate) const CODE_UNKNOWN: i32 = 255;

impl Container {
    /// Its turn has come: fetch the image.
    pub(crate) fn begin(&mut self, ctx: &Ctx<'_>, out: &mut Out) {
        self.wanted = Some(spec::image(ctx.pod, &self.name).to_owned());
        self.phase = Phase::Fetching;
        out.changed = true;
        out.push(Effect::Fetch { run: self.run_id() });
    }

    fn start(&mut self, out: &mut Out) {
        self.phase = Phase::Starting;
        out.changed = true;
        out.push(Effect::Start { run: self.run_id() });
    }

    pub(crate) fn fetched(&mut self, image: Image, ctx: &Ctx<'_>, out: &mut Out) {
        match self.phase {
            Phase::Fetching if image.reference != spec::image(ctx.pod, &self.name) => {
                // The spec changed meanwhile.
                self.begin(ctx, out);
            }
            Phase::Fetching => {
                self.fetch_retry.succeeded();
                self.image = Some(image);
                self.start(out);
            }
            // An answer to a question that nobody asks any more.
            Phase::Waiting
            | Phase::FetchFailed { .. }
            | Phase::Starting
            | Phase::Unconfigured { .. }
            | Phase::Running(_)
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => {}
        }
    }

    pub(crate) fn fetch_failed(
        &mut self,
        fault: FetchFault,
        message: String,
        ctx: &Ctx<'_>,
        out: &mut Out,
    ) {
        match self.phase {
            Phase::Fetching => {}
            Phase::Waiting
            | Phase::FetchFailed { .. }
            | Phase::Starting
            | Phase::Unconfigured { .. }
            | Phase::Running(_)
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => return,
        }
        let reference = spec::image(ctx.pod, &self.name);
        let (first, said) = match fault {
            FetchFault::Pull | FetchFault::InvalidImage => (
                "Failed",
                format!("Failed to pull image \"{reference}\": {message}"),
            ),
            FetchFault::InvalidName => ("InspectFailed", message.clone()),
            FetchFault::NeverPull => ("ErrImageNeverPull", message.clone()),
        };
        out.tell(Note::warning(&self.name, first, said));
        out.tell(Note::warning(
            &self.name,
            "Failed",
            format!("Error: {}", fault_reason(fault, false)),
        ));
        self.phase = Phase::FetchFailed {
            fault,
            message,
            settles: (fault == FetchFault::Pull).then(|| after(ctx.now, FAILURE_SHOWN)),
            retry: (fault != FetchFault::InvalidName).then(|| self.fetch_retry.failed(ctx.now)),
        };
        out.changed = true;
    }

    pub(crate) fn started(&mut self, id: String, ctx: &Ctx<'_>, out: &mut Out) {
        match self.phase {
            Phase::Starting => {}
            Phase::Waiting
            | Phase::Fetching
            | Phase::FetchFailed { .. }
            | Phase::Unconfigured { .. }
            | Phase::Running(_)
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => return,
        }
        self.id = Some(id);
        let of = spec::container(ctx.pod, &self.name);
        let prober = |kind| {
            let probe = of.and_then(|of| spec::probe(of, kind))?;
            Some(Prober::new(kind, Settings::of(probe), ctx.now))
        };
        let hook = of.is_some_and(|of| spec::hook_of(of, Hook::PostStart).is_some());
        if hook {
            out.push(Effect::Hook {
                run: self.run_id(),
                hook: Hook::PostStart,
                timeout: POST_START,
            });
        }
        self.phase = Phase::Running(Live {
            started_at: ctx.now,
            hooked: !hook,
            startup: prober(Kind::Startup),
            liveness: prober(Kind::Liveness),
            readiness: prober(Kind::Readiness),
        });
        out.tell(Note::normal(
            &self.name,
            "Created",
            format!("Created container: {}", self.name),
        ));
        out.tell(Note::normal(
            &self.name,
            "Started",
            format!("Started container {}", self.name),
        ));
        out.changed = true;
    }

    pub(crate) fn start_failed(
        &mut self,
        fault: StartFault,
        message: String,
        ctx: &Ctx<'_>,
        out: &mut Out,
    ) {
        match self.phase {
            Phase::Starting => {}
            Phase::Waiting
            | Phase::Fetching
            | Phase::FetchFailed { .. }
            | Phase::Unconfigured { .. }
            | Phase::Running(_)
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => return,
        }
        out.tell(Note::warning(
            &self.name,
            "Failed",
            format!("Error: {message}"),
        ));
        self.phase = match fault {
            StartFault::Config => Phase::Unconfigured {
                message,
                retry: after(ctx.now, CONFIG_RETRY),
            },
            StartFault::Start => Phase::Exited {
                ended: Ended {
                    run: self.run,
                    reason: Cow::Borrowed("StartError"),
                    exit_code: CODE_START,
                    message: Some(message),
                    started_at: None,
                    finished_at: ctx.now,
                    container_id: None,
                },
                cause: None,
            },
        };
        out.changed = true;
    }

    pub(crate) fn exited(&mut self, exit: Exit, at: Timestamp, out: &mut Out) {
        let (started_at, cause) = match &self.phase {
            Phase::Running(live) => (live.started_at, None),
            Phase::Stopping { live, cause, .. } => (live.started_at, Some(*cause)),
            // `Started` is told before `Exited`, and `Exited` once.
            Phase::Waiting
            | Phase::Fetching
            | Phase::FetchFailed { .. }
            | Phase::Starting
            | Phase::Unconfigured { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => return,
        };
        let (reason, exit_code, message) = outcome(exit);
        let ended = Ended {
            run: self.run,
            reason: Cow::Borrowed(reason),
            exit_code,
            message,
            started_at: Some(started_at),
            finished_at: at.max(started_at),
            container_id: self.id.clone(),
        };
        self.phase = Phase::Exited { ended, cause };
        out.changed = true;
    }

    pub(crate) fn probed(
        &mut self,
        kind: Kind,
        failure: Option<String>,
        ctx: &Ctx<'_>,
        out: &mut Out,
    ) {
        match &mut self.phase {
            Phase::Running(live) => {
                let Some(prober) = live.prober(kind) else {
                    return;
                };
                let outcome = prober.answered(failure.is_none());
                if let Some(failure) = failure.filter(|_| prober.is_notable()) {
                    let message = format!("{} probe failed: {failure}", kind.title());
                    out.tell(Note::warning(&self.name, "Unhealthy", message));
                }
                match (outcome, kind) {
                    (Outcome::Unchanged, _) => {}
                    (Outcome::Passes | Outcome::Fails, Kind::Readiness)
                    | (Outcome::Passes, Kind::Startup | Kind::Liveness) => {
                        out.changed = true;
                    }
                    (Outcome::Fails, Kind::Startup | Kind::Liveness) => {
                        let given = spec::container(ctx.pod, &self.name)
                            .and_then(|of| spec::probe(of, kind))
                            .and_then(|probe| {
                                spec::seconds(probe.termination_grace_period_seconds)
                            });
                        let grace = given.map_or_else(|| spec::grace(ctx.pod), Duration::from_secs);
                        self.stop(StopCause::Probe(kind), after(ctx.now, grace), ctx, out);
                    }
                }
            }
            // A probe of an instance that no longer counts.
            Phase::Waiting
            | Phase::Fetching
            | Phase::FetchFailed { .. }
            | Phase::Starting
            | Phase::Unconfigured { .. }
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => {}
        }
    }

    pub(crate) fn references_changed(&mut self, out: &mut Out) {
        match self.phase {
            Phase::Unconfigured { .. } => self.start(out),
            Phase::Waiting
            | Phase::Fetching
            | Phase::FetchFailed { .. }
            | Phase::Starting
            | Phase::Running(_)
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => {}
        }
    }

    /// What is due by now while the pod lives.
    pub(crate) fn tick(&mut self, ctx: &Ctx<'_>, out: &mut Out) {
        let changed = self
            .wanted
            .as_deref()
            .is_some_and(|wanted| wanted != spec::image(ctx.pod, &self.name));
        match &mut self.phase {
            Phase::FetchFailed { settles, retry, .. } => {
                if changed || retry.is_some_and(|retry| retry <= ctx.now) {
                    self.begin(ctx, out);
                } else if settles.is_some_and(|settles| settles <= ctx.now) {
                    *settles = None;
                    let reference = spec::image(ctx.pod, &self.name);
                    out.tell(Note::normal(
                        &self.name,
                        "BackOff",
                        format!("Back-off pulling image \"{reference}\""),
                    ));
                    out.tell(Note::warning(
                        &self.name,
                        "Failed",
                        "Error: ImagePullBackOff".to_owned(),
                    ));
                    out.changed = true;
                }
            }
            Phase::Unconfigured { .. } if changed => self.begin(ctx, out),
            Phase::Unconfigured { retry, .. } if *retry <= ctx.now => self.start(out),
            Phase::Running(_) if changed => self.stop(
                StopCause::Changed,
                after(ctx.now, spec::grace(ctx.pod)),
                ctx,
                out,
            ),
            Phase::Running(_) => self.probe(ctx, out),
            Phase::Stopping {
                asked: false,
                deadline,
                ..
            } if *deadline <= ctx.now => self.ask(true, ctx, out),
            Phase::Exited { .. } => self.conclude(ctx, out),
            Phase::BackOff { ended, retry } if changed || *retry <= ctx.now => {
                let ended = ended.clone();
                self.again(ended, ctx, out);
            }
            Phase::Waiting
            | Phase::Fetching
            | Phase::Starting
            | Phase::Unconfigured { .. }
            | Phase::Stopping { .. }
            | Phase::BackOff { .. }
            | Phase::Done { .. } => {}
        }
    }

    fn probe(&mut self, ctx: &Ctx<'_>, out: &mut Out) {
        let run = self.run_id();
        let Phase::Running(live) = &mut self.phase else {
            return;
        };
        let due: Vec<Kind> = live
            .due()
            .filter(|(_, prober)| prober.due_at().is_some_and(|due| due <= ctx.now))
            .map(|(kind, _)| kind)
            .collect();
        for kind in due {
            if let Some(prober) = live.prober(kind) {
                prober.sent(ctx.now);
                out.push(Effect::Probe {
                    run: run.clone(),
                    probe: kind,
                    timeout: prober.timeout(),
                });
            }
        }
    }

    /// The instance has ended: again, later, or never.
    fn conclude(&mut self, ctx: &Ctx<'_>, out: &mut Out) {
        let Phase::Exited { ended, cause } = &self.phase else {
            return;
        };
        let (ended, cause) = (ended.clone(), *cause);
        if !self.runs_again(&ended, cause, ctx) {
            self.phase = Phase::Done { ended: Some(ended) };
            return;
        }
        let retry = match cause {
            // The user wants another one, not this one again.
            Some(StopCause::Changed) => ctx.now,
            Some(StopCause::PodEnds | StopCause::Probe(_) | StopCause::PostStart) | None => {
                self.restart.ready_at(ended.finished_at)
            }
        };
        if retry <= ctx.now {
            self.again(ended, ctx, out);
            return;
        }
        let message = format!(
            "Back-off restarting failed container {} in pod {}",
            self.name,
            spec::full_name(ctx.pod)
        );
        out.tell(Note::warning(&self.name, "BackOff", message));
        self.phase = Phase::BackOff { ended, retry };
    }

    fn again(&mut self, ended: Ended, ctx: &Ctx<'_>, out: &mut Out) {
        self.restart.restarted(ended.finished_at, ctx.now);
        self.run = self.run.saturating_add(1);
        self.last = Some(ended);
        self.begin(ctx, out);
    }

    fn runs_again(&self, ended: &Ended, cause: Option<StopCause>, ctx: &Ctx<'_>) -> bool {
        let policy = spec::restart_policy(ctx.pod);
        match cause {
            Some(StopCause::PodEnds) => return false,
            Some(StopCause::Changed) => return true,
            Some(StopCause::Probe(_)) if policy != RestartPolicy::Never => return true,
            Some(StopCause::Probe(_) | StopCause::PostStart) | None => {}
        }
        let failed = ended.exit_code != 0;
        match (self.role, policy) {
            (Role::Sidecar, _) | (Role::Main, RestartPolicy::Always) => true,
            (Role::Init, RestartPolicy::Always | RestartPolicy::OnFailure)
            | (Role::Main, RestartPolicy::OnFailure) => failed,
            (Role::Init | Role::Main, RestartPolicy::Never) | (Role::Ephemeral, _) => false,
        }
    }
}

/// The reason that a waiting container shows.
pub(crate) fn fault_reason(fault: FetchFault, settled: bool) -> &'static str {
    match (fault, settled) {
        (FetchFault::Pull, false) => "ErrImagePull",
        (FetchFault::Pull, true) => "ImagePullBackOff",
        (FetchFault::InvalidName, _) => "InvalidImageName",
        (FetchFault::NeverPull, _) => "ErrImageNeverPull",
        (FetchFault::InvalidImage, _) => "InvalidImage",
    }
}

fn outcome(exit: Exit) -> (&'static str, i32, Option<String>) {
    match exit {
        Exit::Completed(0) => ("Completed", 0, None),
        Exit::Completed(code) => ("Error", code, None),
        Exit::Trapped(message) => ("Error", CODE_TRAP, Some(message)),
        Exit::OutOfFuel => (
            "FuelExhausted",
            CODE_FUEL,
            Some("the container used its whole fuel budget".to_owned()),
        ),
        Exit::OutOfMemory => ("OOMKilled", CODE_KILLED, None),
        Exit::Killed => (
            "Error",
            CODE_KILLED,
            Some("the container did not stop within its grace period".to_owned()),
        ),
        Exit::Stopped => ("Error", CODE_STOPPED, None),
        Exit::HostFault(message) => ("HostFault", CODE_START, Some(message)),
    }
}
