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
    api::{DeleteParams, Patch, PatchParams, Preconditions},
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

    /// Writes into a pod's status that it cannot be placed, and where it has been promised a place, if it has.
    pub(super) fn refuse(
        &self,
        pod: Arc<Pod>,
        message: String,
        promised: Option<String>,
    ) -> impl Future<Output = Bound> + Send + use<> {
        let (client, room) = (self.client.clone(), Arc::clone(&self.room));
        async move {
            let _permit = room.acquire().await;
            let namespace = pod.namespace().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(client, &namespace);
            let mut patch = condition(&pod, &message, Timestamp::now());
            if let (Some(node), Some(status)) = (promised, patch.get_mut("status")) {
                *status = with(status.take(), "nominatedNodeName", json!(node));
            }
            let patch = Patch::Strategic(patch);
            let written = api
                .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
                .await;
            if let Err(error) = written {
                tracing::debug!(pod = pod.name_any(), %error, "that a pod cannot be placed could not be told");
            }
            Bound::Told
        }
    }

    /// Ends a pod whose place another takes. It says first why.
    pub(super) fn end(&self, pod: Arc<Pod>) -> impl Future<Output = Bound> + Send + use<> {
        let (client, room) = (self.client.clone(), Arc::clone(&self.room));
        async move {
            let _permit = room.acquire().await;
            let namespace = pod.namespace().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(client, &namespace);
            let now = Timestamp::now().to_string();
            let patch = json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [{
                "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": "default-scheduler: preempting to accommodate a higher priority pod", "lastTransitionTime": now,
            }] } });
            let told = api
                .patch_status(
                    &pod.name_any(),
                    &PatchParams::default(),
                    &Patch::Strategic(patch),
                )
                .await;
            let parameters = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: pod.uid(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            let deleted = match told {
                Ok(_) => api.delete(&pod.name_any(), &parameters).await.map(drop),
                Err(error) => Err(error),
            };
            match deleted {
                Ok(()) => {}
                // It is gone already, which is what was wanted.
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                // The pod that waits for its place is decided again later.
                Err(error) => {
                    tracing::warn!(pod = pod.name_any(), %error, "a pod could not be preempted");
                }
            }
            Bound::Told
        }
    }
}

/// An object with one more field.
fn with(mut object: Value, field: &str, value: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value);
    }
    object
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

pub(super) fn preempted(victim: &Pod, by: &Pod, node: &str) -> Note {
    let uid = by.uid().unwrap_or_default();
    let message = format!("Preempted by pod {uid} on node {node}");
    Target::of(&Kind::POD, &victim.metadata).note(Severity::Normal, "Preempted", message)
}
