//! Tells the API server how one pod is, and that it may drop its object. The latest status wins; what was not written for want of the API server is written
//! when it is back.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use tokio::sync::watch;

use crate::{parts::Parts, status};

/// The first pause after a write failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What the API server should know.
#[derive(Clone, Debug, Default)]
struct Wanted {
    status: Option<Arc<PodStatus>>,
    /// Nothing of the pod is left.
    is_over: bool,
}

/// Takes what the API server should know.
#[derive(Debug)]
pub(crate) struct Publisher {
    wanted: watch::Sender<Wanted>,
}

impl Publisher {
    /// A publisher for a pod, and what writes until the publisher is dropped and everything is written.
    pub(crate) fn new(
        parts: Arc<Parts>,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (wanted, receiver) = watch::channel(Wanted::default());
        let writer = Writer {
            api: Api::namespaced(parts.config.client.clone(), namespace),
            parts,
            name: name.to_owned(),
            uid: uid.to_owned(),
        };
        (Self { wanted }, writer.run(receiver))
    }

    /// Has the status written soon.
    pub(crate) fn publish(&self, status: PodStatus) {
        self.wanted
            .send_modify(|wanted| wanted.status = Some(Arc::new(status)));
    }

    /// Has the object dropped, after the last status was written.
    pub(crate) fn confirm(&self) {
        self.wanted.send_modify(|wanted| wanted.is_over = true);
    }
}

struct Writer {
    parts: Arc<Parts>,
    api: Api<Pod>,
    name: String,
    uid: String,
}

/// What became of a write.
enum Outcome {
    Done,
    /// There is no such pod any more.
    Gone,
    Failed,
}

impl Writer {
    async fn run(self, mut wanted: watch::Receiver<Wanted>) {
        let mut written: Option<Arc<PodStatus>> = None;
        let mut pause = PAUSE.0;
        loop {
            let now = wanted.borrow_and_update().clone();
            let new = now.status.clone().filter(|status| {
                written
                    .as_ref()
                    .is_none_or(|written| !Arc::ptr_eq(written, status))
            });
            let outcome = match new {
                Some(status) => {
                    if !now.is_over && status::can_wait(&status) {
                        let changed =
                            tokio::time::timeout(status::PATIENCE, wanted.changed()).await;
                        if matches!(changed, Ok(Ok(()))) {
                            continue;
                        }
                    }
                    let outcome = self.write(&status).await;
                    if matches!(outcome, Outcome::Done) {
                        written = Some(status);
                        if now.is_over {
                            continue;
                        }
                    }
                    outcome
                }
                None if now.is_over => match self.delete().await {
                    // What follows is the watch's news that the object is gone.
                    Outcome::Done => Outcome::Gone,
                    outcome => outcome,
                },
                None => Outcome::Done,
            };
            match outcome {
                Outcome::Done => pause = PAUSE.0,
                Outcome::Gone => return,
                Outcome::Failed => {
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(PAUSE.1);
                    if wanted.has_changed().is_err() {
                        // The worker is gone and has waited as long as it could.
                        return;
                    }
                    continue;
                }
            }
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    async fn write(&self, status: &PodStatus) -> Outcome {
        let _permit = self.parts.writing.acquire().await;
        let patch = Patch::Strategic(status::patch(&self.uid, status));
        let written = self
            .api
            .patch_status(&self.name, &PatchParams::default(), &patch)
            .await;
        self.outcome("write a pod's status", written.map(drop))
    }

    async fn delete(&self) -> Outcome {
        let how = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let deleted = self.api.delete(&self.name, &how).await;
        self.outcome("drop a pod's object", deleted.map(drop))
    }

    fn outcome(&self, what: &'static str, result: Result<(), kube::Error>) -> Outcome {
        match result {
            Ok(()) => Outcome::Done,
            // Another pod has the name now, or nobody.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                tracing::debug!(pod = self.name, what, %status, "the pod is not there any more");
                Outcome::Gone
            }
            Err(error) => {
                tracing::warn!(pod = self.name, what, %error, "cannot tell the API server, will try again");
                Outcome::Failed
            }
        }
    }
}
