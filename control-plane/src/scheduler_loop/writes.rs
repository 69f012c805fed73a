//! What the scheduler writes: bindings, the condition of pods that cannot be placed, and the words of events.

use std::sync::Arc;

use coracle_controllers::{
    action::{Note, Severity, Target},
    kind::Kind,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Writes at a time. More would only wait in the API server.
const AT_ONCE: usize = 64;

/// What became of a write.
pub(super) enum Bound {
    /// The pod is bound.
    Done { pod: Arc<Pod>, node: String },
    /// The pod is gone, or is bound already.
    Obsolete(Arc<Pod>),
    /// It may work another time.
    Failed { pod: Arc<Pod>, error: kube::Error },
    /// That it cannot be placed was told, or could not be.
    Told,
}

/// Writes.
pub(super) struct Writes {
    client: kube::Client,
    room: Arc<Semaphore>,
}

impl Writes {
    pub(super) fn new(client: kube::Client) -> Self {
        Self {
            client,
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Binds a pod to a node.
    pub(super) fn bind(
        &self,
        pod: Arc<Pod>,
        node: String,
    ) -> impl Future<Output = Bound> + Send + use<> {
        let (client, room) = (self.client.clone(), Arc::clone(&self.room));
        async move {
            let _permit = room.acquire().await;
            match send(&client, &pod, &node).await {
                Ok(()) => Bound::Done { pod, node },
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                    Bound::Obsolete(pod)
                }
                Err(error) => Bound::Failed { pod, error },
            }
        }
    }

    /// Writes into a pod's status that it cannot be placed.
    pub(super) fn refuse(
        &self,
        pod: Arc<Pod>,
        message: String,
    ) -> impl Future<Output = Bound> + Send + use<> {
        let (client, room) = (self.client.clone(), Arc::clone(&self.room));
        async move {
            let _permit = room.acquire().await;
            let namespace = pod.namespace().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(client, &namespace);
            let patch = Patch::Strategic(condition(&pod, &message, Timestamp::now()));
            let written = api
                .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
                .await;
            if let Err(error) = written {
                tracing::debug!(pod = pod.name_any(), %error, "that a pod cannot be placed could not be told");
            }
            Bound::Told
        }
    }
}

async fn send(client: &kube::Client, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": name, "namespace": namespace, "uid": pod.uid() },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    // Names are DNS labels and subdomains: nothing to escape.
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(binding.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request::<Value>(request).await.map(drop)
}

/// The patch that says that a pod cannot be placed. The time is that since when: it stays while the condition does.
fn condition(pod: &Pod, message: &str, now: Timestamp) -> Value {
    let known = coracle_api::pods::condition(pod, "PodScheduled");
    let since = known
        .filter(|known| known.status == "False")
        .and_then(|known| known.last_transition_time.as_ref())
        .map_or(now, |time| time.0);
    json!({
        "metadata": { "uid": pod.uid() },
        "status": { "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message, "lastTransitionTime": since.to_string(),
        }] },
    })
}

pub(super) fn assigned(pod: &Pod, node: &str) -> Note {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    Target::of(&Kind::POD, &pod.metadata).note(Severity::Normal, "Scheduled", message)
}

pub(super) fn refused(pod: &Pod, message: &str) -> Note {
    let about = Target::of(&Kind::POD, &pod.metadata);
    about.note(Severity::Warning, "FailedScheduling", message.to_owned())
}
