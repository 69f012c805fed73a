//! The worker of one pod: feeds the life cycle's state machine with what happens and has its effects done, until the pod is forgotten. Decides nothing itself.

mod effects;
mod prepare;
mod start;

pub(crate) use self::effects::{container as container_of, log_id};

use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use coracle_lifecycle::{Ctx, Effect, Event, State, step};
use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{parts::Parts, publisher::Publisher, room::Refusal, sandbox::Sandbox};

/// How long a worker that is done waits for its last words to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The pod's object as the API server has it.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    /// It is there.
    Is(Arc<Pod>),
    /// It was there and is no longer.
    Gone,
}

/// A pod's worker.
pub(crate) struct Worker {
    parts: Arc<Parts>,
    sandbox: Arc<Sandbox>,
    object: watch::Receiver<Object>,
    pod: Arc<Pod>,
    publisher: Publisher,
    /// Told when an object that the pod refers to has changed.
    references: Option<Arc<Notify>>,
    /// What is being done; each answers with at most one event.
    tasks: JoinSet<Option<Event>>,
    /// What was answered at once.
    answers: VecDeque<Event>,
}

/// Runs the pod until it is forgotten, or until the agent ends.
pub(crate) async fn run(
    parts: Arc<Parts>,
    sandbox: Arc<Sandbox>,
    pod: Arc<Pod>,
    object: watch::Receiver<Object>,
    refusal: Option<Refusal>,
) {
    let (publisher, writer) = Publisher::new(
        Arc::clone(&parts),
        &sandbox.namespace,
        &sandbox.name,
        &sandbox.uid,
    );
    let writer = tokio::spawn(writer);
    let first = refusal.map_or(Event::Updated, |refusal| Event::Refused {
        reason: refusal.reason,
        message: refusal.message,
    });
    let worker = Worker {
        parts,
        sandbox,
        object,
        pod,
        publisher,
        references: None,
        tasks: JoinSet::new(),
        answers: VecDeque::from([first]),
    };
    worker.live().await;
    // The publisher went with the worker: what is still to be written is written now.
    if tokio::time::timeout(LAST_WORDS, writer).await.is_err() {
        tracing::warn!("a pod's last status could not be written in time");
    }
}

/// Takes away what a pod holds whose worker is no more.
pub(crate) async fn clear(parts: &Parts, sandbox: &Sandbox) {
    for (_, _, container) in sandbox.all_running() {
        container.kill();
    }
    sandbox.forget_running();
    prepare::release(parts, sandbox).await;
}

impl Worker {
    async fn live(mut self) {
        let mut deadline = self.parts.deadline.subscribe();
        let mut state = State::adopt(&self.pod, Timestamp::now());
        loop {
            let event = self.next(&state, &mut deadline).await;
            let has_exited = matches!(event, Event::Exited { .. });
            tracing::trace!(
                pod = self.sandbox.name,
                event = event.name(),
                "something happened"
            );
            let (pod, parts) = (Arc::clone(&self.pod), Arc::clone(&self.parts));
            let ctx = Ctx {
                pod: &pod,
                now: Timestamp::now(),
                host_ips: &parts.config.addresses,
            };
            let (next, effects) = step(state, event, &ctx);
            state = next;
            self.sandbox.look(&state, &pod);
            if has_exited {
                self.keep_callers(&effects);
            }
            for effect in effects {
                self.execute(effect, &state, &ctx);
            }
            if state.is_gone() {
                // Removing logs may still be under way; nothing else is.
                while self.tasks.join_next().await.is_some() {}
                return;
            }
        }
    }

    /// The next event. Waits for it.
    async fn next(
        &mut self,
        state: &State,
        deadline: &mut watch::Receiver<Option<Timestamp>>,
    ) -> Event {
        loop {
            if let Some(event) = self.answers.pop_front() {
                return event;
            }
            let wake = async {
                match state.wake_at() {
                    Some(at) => tokio::time::sleep(until(at)).await,
                    None => std::future::pending().await,
                }
            };
            let referred = async {
                match &self.references {
                    Some(notify) => notify.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.tasks.join_next() => match done {
                    Ok(Some(event)) => return event,
                    Ok(None) => {}
                    Err(error) => tracing::error!(pod = self.sandbox.name, %error, "a task of a pod's worker failed"),
                },
                Ok(()) = self.object.changed() => {
                    let object = self.object.borrow_and_update().clone();
                    return match object {
                        Object::Is(pod) => self.updated(pod),
                        Object::Gone => Event::Removed,
                    };
                }
                Ok(()) = deadline.changed() => {
                    if let Some(deadline) = *deadline.borrow_and_update() {
                        return Event::Shutdown { deadline };
                    }
                }
                () = referred => {
                    self.refresh_volumes();
                    if state.waits_for_references() {
                        return Event::ReferencesChanged;
                    }
                }
                () = wake => return Event::Wake,
            }
        }
    }

    /// The pod's object is another one. Volumes may tell containers of its labels and annotations.
    fn updated(&mut self, pod: Arc<Pod>) -> Event {
        let (old, new) = (&self.pod.metadata, &pod.metadata);
        let shows = old.labels != new.labels || old.annotations != new.annotations;
        self.pod = pod;
        if shows {
            self.refresh_volumes();
        }
        Event::Updated
    }

    fn answer(&mut self, event: Event) {
        self.answers.push_back(event);
    }

    /// A container has ended. While it starts again at once, whoever calls it waits; otherwise nobody will answer soon and callers are told so.
    fn keep_callers(&self, effects: &[Effect]) {
        let starts_again = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Fetch { .. }));
        if let Some(stack) = self.sandbox.network().filter(|_| !starts_again) {
            stack.close_parked();
        }
    }

    /// Does something that answers with an event; with `lost` should a bug end it, so that the pod never waits for ever.
    fn spawn(&mut self, lost: Event, task: impl Future<Output = Event> + Send + 'static) {
        let pod = Arc::clone(&self.sandbox);
        self.tasks.spawn(async move {
            let done = AssertUnwindSafe(task).catch_unwind().await;
            Some(done.unwrap_or_else(|_| {
                tracing::error!(
                    pod = pod.name,
                    instead = lost.name(),
                    "a task of a pod's worker panicked"
                );
                lost
            }))
        });
    }
}

/// How long it is until `at`.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}
