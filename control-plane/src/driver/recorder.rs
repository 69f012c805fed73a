//! Writes Events for the notes of plans. Telling never waits and never fails: what is too much is dropped and counted. What notes become is decided in
//! [`super::correlator`].

use std::{sync::Arc, time::Duration};

use coracle_apiserver::ambient::Ambient;
use coracle_controllers::{action::Note, kind::Kind};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    calls::Calls,
    correlator::{Correlator, Doing},
    metrics::DriverMetrics,
    refusal::Refusal,
};

/// So many notes may wait to be written: two plans with all they may do.
const QUEUE: usize = 1000;
/// How often an Event is tried, and how long to wait in between. Upstream tries for two minutes; what cannot be written for a second is not worth holding
/// back all that comes after it.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// Where notes are told. Clones tell the same.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<(&'static str, Note)>,
    metrics: DriverMetrics,
}

/// What writes them.
pub struct Writing {
    queue: mpsc::Receiver<(&'static str, Note)>,
    calls: Calls,
    ambient: Arc<dyn Ambient>,
    metrics: DriverMetrics,
    kind: Kind,
}

/// A recorder and what writes for it.
#[must_use]
pub fn recorder(
    calls: Calls,
    ambient: Arc<dyn Ambient>,
    metrics: DriverMetrics,
) -> (Recorder, Writing) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let recorder = Recorder {
        queue: sender,
        metrics: metrics.clone(),
    };
    let writing = Writing {
        queue,
        calls,
        ambient,
        metrics,
        kind: Kind {
            kind: "Event".into(),
            plural: "events".into(),
            ..Kind::POD
        },
    };
    (recorder, writing)
}

impl Recorder {
    /// Tells a note of a controller's.
    pub fn tell(&self, controller: &'static str, note: Note) {
        match self.queue.try_send((controller, note)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.metrics.events_dropped.inc();
            }
        }
    }
}

impl Writing {
    /// Writes until `stop`, or until nobody is left to tell anything.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut correlator = Correlator::default();
        loop {
            let told = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                told = self.queue.recv() => told,
            };
            let Some((controller, note)) = told else {
                return;
            };
            match correlator.correlate(controller, &note, self.ambient.now()) {
                Some(doing) => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = self.write(doing) => {}
                    }
                }
                None => {
                    self.metrics.events_dropped.inc();
                }
            }
        }
    }

    async fn write(&self, doing: Doing) {
        for _ in 0..TRIES {
            match self.attempt(&doing).await {
                // There already: an answer was lost. Not allowed, or the namespace is gone: it never will be.
                Ok(()) | Err(Refusal::Exists(_)) => return,
                Err(Refusal::Forbidden(why) | Refusal::Gone(why)) => {
                    tracing::debug!(why, "an event is not wanted");
                    break;
                }
                Err(refusal) => {
                    tracing::debug!(error = refusal.told(), "an event was not recorded");
                }
            }
            sleep(PAUSE).await;
        }
        self.metrics.events_dropped.inc();
    }

    async fn attempt(&self, doing: &Doing) -> Result<(), Refusal> {
        let whole = match doing {
            Doing::Create(whole) => whole,
            Doing::Count { key, patch, whole } => {
                match self.calls.patch_any(&self.kind, key, patch).await {
                    // It has expired.
                    Err(Refusal::Gone(_)) => whole,
                    done => return done.map(|_| ()),
                }
            }
        };
        self.calls.create(&self.kind, whole).await?;
        Ok(())
    }
}
