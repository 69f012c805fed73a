//! Does what the life cycle wants done. What can be done at once is answered at once; the rest becomes a task that answers later.

use std::{sync::Arc, time::Duration};

use coracle_lifecycle::{
    Ctx, Effect, Event, Exit, FetchFault, Image, Note, NoteKind, RunId, State, event::Hook,
    hook_of, probes, status::status,
};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, Probe};

use super::{Worker, prepare, start};
use crate::{
    commands,
    images::{PullPolicy, Ready, Unfetched},
    logs::LogId,
    probe::Target,
    toolbox,
};

/// How long the end of a container waits for its last lines to be on disk.
const LAST_LINES: Duration = Duration::from_secs(1);
/// What is said of something that a bug ended.
const LOST: &str = "the node agent failed while it did this";

impl Worker {
    pub(super) fn execute(&mut self, effect: Effect, state: &State, ctx: &Ctx<'_>) {
        match effect {
            Effect::Prepare => self.prepare(),
            Effect::Fetch { run } => self.fetch(run),
            Effect::Start { run } => self.start(&run, state, ctx),
            Effect::Stop { run, grace } => self.stop(&run, grace),
            Effect::Hook { run, hook, timeout } => self.hook(run, hook, timeout),
            Effect::Probe {
                run,
                probe,
                timeout,
            } => self.probe(run, probe, timeout),
            Effect::Release => self.release(),
            Effect::Publish => {
                let status = status(state, ctx);
                self.sandbox.set_status(&status);
                self.publisher.publish(status);
            }
            Effect::Confirm => self.publisher.confirm(),
            Effect::Forget => self.forget(),
            Effect::Tell(note) => self.tell(&note),
        }
    }

    fn tell(&self, note: &Note) {
        let subject = self.sandbox.subject(note.container.clone());
        self.parts.recorder.tell(subject, note);
    }

    fn prepare(&mut self) {
        let held = Arc::new(prepare::hold(&self.parts, &self.pod));
        self.references = Some(held.notify());
        self.sandbox.set_references(held);
        let (parts, sandbox, pod) = (
            Arc::clone(&self.parts),
            Arc::clone(&self.sandbox),
            Arc::clone(&self.pod),
        );
        let lost = Event::PrepareFailed {
            reason: "FailedCreatePodSandBox",
            message: LOST.to_owned(),
        };
        self.spawn(lost, async move {
            prepare::prepare(&parts, &sandbox, &pod).await
        });
    }

    /// Brings the volumes up to what the objects say that they are made of.
    pub(super) fn refresh_volumes(&mut self) {
        let (parts, sandbox, pod) = (
            Arc::clone(&self.parts),
            Arc::clone(&self.sandbox),
            Arc::clone(&self.pod),
        );
        if sandbox.network().is_none() {
            // They are not made yet, or no longer there.
            return;
        }
        self.tasks.spawn(async move {
            if let Err((_, message)) = prepare::write_volumes(&parts, &sandbox, &pod).await {
                let note = Note {
                    kind: NoteKind::Warning,
                    reason: "FailedMount",
                    message,
                    container: None,
                };
                parts.recorder.tell(sandbox.subject(None), &note);
            }
            None
        });
    }

    fn fetch(&mut self, run: RunId) {
        let Some(container) = container(&self.pod, &run.container) else {
            return;
        };
        let reference = container.image.clone().unwrap_or_default();
        let policy = PullPolicy::of(container.image_pull_policy.as_deref(), &reference);
        if reference == toolbox::IMAGE {
            self.fetch_toolbox(run);
            return;
        }
        if let Some(ready) = self.parts.images.at_hand(&reference, policy) {
            let image = ready.image.clone();
            self.tell(&present(&run, &reference));
            self.sandbox.set_image(&run.container, ready);
            self.answer(Event::Fetched { run, image });
            return;
        }
        if self.parts.images.is_pulled(&reference, policy) {
            let message = format!("Pulling image \"{reference}\"");
            self.tell(&Note::normal(&run.container, "Pulling", message));
        }
        let (parts, sandbox) = (Arc::clone(&self.parts), Arc::clone(&self.sandbox));
        let lost = Event::FetchFailed {
            run: run.clone(),
            fault: FetchFault::Pull,
            message: LOST.to_owned(),
        };
        self.spawn(lost, async move {
            match parts.images.fetch(&reference, policy).await {
                Ok(ready) => {
                    let image = ready.image.clone();
                    let note = match ready.pulled {
                        Some((took, size)) => Note::normal(
                            &run.container,
                            "Pulled",
                            format!("Successfully pulled image \"{reference}\" in {took:.0?}. Image size: {size} bytes."),
                        ),
                        None => present(&run, &reference),
                    };
                    let subject = sandbox.subject(Some(Arc::clone(&run.container)));
                    parts.recorder.tell(subject, &note);
                    sandbox.set_image(&run.container, ready);
                    Event::Fetched { run, image }
                }
                Err(Unfetched { fault, message }) => Event::FetchFailed {
                    run,
                    fault,
                    message,
                },
            }
        });
    }

    fn fetch_toolbox(&mut self, run: RunId) {
        let (parts, sandbox) = (Arc::clone(&self.parts), Arc::clone(&self.sandbox));
        let lost = Event::FetchFailed {
            run: run.clone(),
            fault: FetchFault::Pull,
            message: LOST.to_owned(),
        };
        self.spawn(lost, async move {
            match parts.toolbox.artifact(&parts.runtime).await {
                Ok(artifact) => {
                    let image = Image {
                        reference: toolbox::IMAGE.to_owned(),
                        id: format!("{}@{}", toolbox::IMAGE, artifact.digest),
                    };
                    let ready = Ready {
                        image: image.clone(),
                        artifact,
                        pulled: None,
                    };
                    sandbox.set_image(&run.container, ready);
                    Event::Fetched { run, image }
                }
                Err(message) => Event::FetchFailed {
                    run,
                    fault: FetchFault::InvalidImage,
                    message,
                },
            }
        });
    }

    fn start(&mut self, run: &RunId, state: &State, ctx: &Ctx<'_>) {
        match start::start(&self.parts, &self.sandbox, &self.pod, run, state.ips()) {
            Ok((container, id)) => {
                self.sandbox.set_running(run, Arc::clone(&container));
                self.answer(Event::Started {
                    run: run.clone(),
                    id,
                });
                let (parts, sandbox, run) = (
                    Arc::clone(&self.parts),
                    Arc::clone(&self.sandbox),
                    run.clone(),
                );
                if let Some(stack) = self.sandbox.network() {
                    stack.set_restarting(true);
                }
                let lost = Event::Exited {
                    run: run.clone(),
                    exit: Exit::HostFault(LOST.to_owned()),
                    at: ctx.now,
                };
                self.spawn(lost, async move {
                    let exit = container.wait().await;
                    let at = jiff::Timestamp::now();
                    sandbox.ended(&run);
                    let log = log_id(&sandbox.log_directory, &run);
                    parts.logs.end(&log);
                    // Who hears of the end finds all that was written. A disk that does not keep up holds nothing up.
                    if let Some(file) = parts.logs.of(&log) {
                        let mut progress = file.progress();
                        let written = progress.wait_for(|log| log.is_closed);
                        let _ = tokio::time::timeout(LAST_LINES, written).await;
                    }
                    Event::Exited {
                        run,
                        exit: start::exit(exit),
                        at,
                    }
                });
            }
            Err((fault, message)) => self.answer(Event::StartFailed {
                run: run.clone(),
                fault,
                message,
            }),
        }
    }

    fn stop(&mut self, run: &RunId, grace: Duration) {
        if let Some(container) = self.sandbox.running(run) {
            self.tasks.spawn(async move {
                // Whoever waits for the run tells how it ended.
                let _ = container.stop(grace).await;
                None
            });
        }
    }

    fn hook(&mut self, run: RunId, hook: Hook, timeout: Duration) {
        let target = self.target();
        let (parts, sandbox, pod) = (
            Arc::clone(&self.parts),
            Arc::clone(&self.sandbox),
            Arc::clone(&self.pod),
        );
        let lost = Event::HookDone {
            run: run.clone(),
            hook,
            failure: Some(LOST.to_owned()),
        };
        self.spawn(lost, async move {
            let of =
                container(&pod, &run.container).and_then(|of| hook_of(of, hook).map(|to| (of, to)));
            let failure = match (of, target) {
                (
                    Some((
                        of,
                        LifecycleHandler {
                            exec: Some(exec), ..
                        },
                    )),
                    _,
                ) => {
                    let command = exec.command.as_deref().unwrap_or_default();
                    commands::succeeds(&parts, &sandbox, &pod, &of.name, command, timeout).await
                }
                (Some((of, handler)), Some(target)) => target.hook(of, handler, timeout).await,
                (None, _) => Ok(()),
                (Some(_), None) => Err("the pod has no network any more".to_owned()),
            };
            Event::HookDone {
                run,
                hook,
                failure: failure.err(),
            }
        });
    }

    fn probe(&mut self, run: RunId, kind: probes::Kind, timeout: Duration) {
        let target = self.target();
        let (parts, sandbox, pod) = (
            Arc::clone(&self.parts),
            Arc::clone(&self.sandbox),
            Arc::clone(&self.pod),
        );
        let lost = Event::Probed {
            run: run.clone(),
            probe: kind,
            failure: Some(LOST.to_owned()),
        };
        self.spawn(lost, async move {
            let of = container(&pod, &run.container)
                .and_then(|of| probe_of(of, kind).map(|probe| (of, probe)));
            let failure = match (of, target) {
                (
                    Some((
                        of,
                        Probe {
                            exec: Some(exec), ..
                        },
                    )),
                    _,
                ) => {
                    let command = exec.command.as_deref().unwrap_or_default();
                    commands::succeeds(&parts, &sandbox, &pod, &of.name, command, timeout).await
                }
                (Some((of, probe)), Some(target)) => target.probe(of, probe, timeout).await,
                (None, _) => Ok(()),
                (Some(_), None) => Err("the pod has no network any more".to_owned()),
            };
            Event::Probed {
                run,
                probe: kind,
                failure: failure.err(),
            }
        });
    }

    fn target(&self) -> Option<Target> {
        Some(Target {
            switch: Arc::clone(&self.parts.switch),
            ip: self.sandbox.ip()?,
        })
    }

    fn release(&mut self) {
        let (parts, sandbox) = (Arc::clone(&self.parts), Arc::clone(&self.sandbox));
        self.references = None;
        self.spawn(Event::Released, async move {
            prepare::release(&parts, &sandbox).await;
            Event::Released
        });
    }

    fn forget(&mut self) {
        let (parts, directory) = (
            Arc::clone(&self.parts),
            Arc::clone(&self.sandbox.log_directory),
        );
        self.tasks.spawn_blocking(move || {
            if let Err(error) = parts.logs.remove(&directory) {
                tracing::warn!(%directory, %error, "the logs of a pod that is gone cannot be removed");
            }
            None
        });
    }
}

/// Names the log of a run.
pub(crate) fn log_id(directory: &Arc<str>, run: &RunId) -> LogId {
    LogId {
        pod: Arc::clone(directory),
        container: Arc::clone(&run.container),
        run: run.number,
    }
}

/// A container of a pod's spec, initial ones included.
pub(crate) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    init.chain(&spec.containers).find(|one| one.name == name)
}

fn probe_of(container: &Container, kind: probes::Kind) -> Option<&Probe> {
    match kind {
        probes::Kind::Startup => container.startup_probe.as_ref(),
        probes::Kind::Liveness => container.liveness_probe.as_ref(),
        probes::Kind::Readiness => container.readiness_probe.as_ref(),
    }
}

fn present(run: &RunId, reference: &str) -> Note {
    let message = format!("Container image \"{reference}\" already present on machine");
    Note::normal(&run.container, "Pulled", message)
}
