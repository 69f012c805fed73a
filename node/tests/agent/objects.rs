//! Short words for objects: made, waited for, looked at.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};

use crate::cluster::{Cluster, DEADLINE, NODE};

/// A pod of one container `main` that runs an image pushed under `guest`, on the node.
pub fn pod(name: &str, guest: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": guest, "imagePullPolicy": "IfNotPresent" }]
        }
    })
}

/// The same with something changed.
pub fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    object
}

pub fn api<K>(cluster: &Cluster) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(cluster.admin.clone(), "default")
}

impl Cluster {
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        api::<K>(self)
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    pub async fn pod(&self, name: &str) -> Pod {
        api::<Pod>(self).get(name).await.unwrap()
    }

    /// Waits until the pod is as wanted, and gives it. Says how it was when it does not become so.
    #[track_caller]
    pub fn until<'a>(
        &'a self,
        name: &'a str,
        wanted: impl Fn(&Pod) -> bool + Send + 'a,
    ) -> impl Future<Output = Pod> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let waiting = await_condition(api::<Pod>(self), name, move |pod: Option<&Pod>| {
                pod.is_some_and(&wanted)
            });
            match tokio::time::timeout(DEADLINE, waiting).await {
                Ok(pod) => pod.unwrap().unwrap(),
                Err(_) => {
                    let pod = api::<Pod>(self).get_opt(name).await.unwrap();
                    let status = pod.and_then(|pod| pod.status);
                    let status = serde_json::to_string_pretty(&status).unwrap();
                    let events = self.events(name).await;
                    panic!("{caller}: pod {name} did not become so: {status}\n{events:#?}")
                }
            }
        }
    }

    /// Deletes the pod and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        let pods = api::<Pod>(self);
        let uid = pods.get(name).await.unwrap().uid().unwrap();
        pods.delete(name, &DeleteParams::default()).await.unwrap();
        let gone = await_condition(pods, name, move |pod: Option<&Pod>| {
            pod.is_none_or(|pod| pod.uid().as_deref() != Some(&uid))
        });
        tokio::time::timeout(DEADLINE, gone)
            .await
            .expect("the pod goes")
            .unwrap();
    }

    /// What was said about a pod: `Reason: message`.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = api::<Event>(self).list(&about).await.unwrap();
        let text = |of: Option<String>| of.unwrap_or_default();
        let told = events
            .into_iter()
            .map(|one| format!("{}: {}", text(one.reason), text(one.message)));
        told.collect()
    }

    /// Waits until something that contains `wanted` was said about a pod.
    #[track_caller]
    pub fn told<'a>(&'a self, name: &'a str, wanted: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let wanted_of = {
                let (name, wanted) = (name.to_owned(), wanted.to_owned());
                move |event: &Event| {
                    let said = format!(
                        "{}: {}",
                        event.reason.as_deref().unwrap_or_default(),
                        event.message.as_deref().unwrap_or_default()
                    );
                    event.involved_object.name.as_deref() == Some(&name) && said.contains(&wanted)
                }
            };
            let config = kube::runtime::watcher::Config::default();
            let events = kube::runtime::watcher(api::<Event>(self), config);
            let mut events = std::pin::pin!(kube::runtime::WatchStreamExt::applied_objects(events));
            let hearing = async {
                while let Some(event) = futures::StreamExt::next(&mut events).await {
                    if wanted_of(&event.unwrap()) {
                        return;
                    }
                }
            };
            if tokio::time::timeout(DEADLINE, hearing).await.is_err() {
                let events = self.events(name).await;
                panic!("{caller}: nobody said {wanted:?} of {name}: {events:#?}");
            }
        }
    }

    /// A container's log, as `kubectl logs` gets it.
    pub async fn log(&self, pod: &str, query: &str) -> String {
        let (code, text) = self
            .get(&format!(
                "/api/v1/namespaces/default/pods/{pod}/log?{query}"
            ))
            .await;
        assert_eq!(code, 200, "{text}");
        text
    }
}

/// The first container's status.
pub fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

pub fn state(pod: &Pod) -> Option<&ContainerState> {
    container(pod)?.state.as_ref()
}

/// Why the first container waits.
pub fn waits_for(pod: &Pod) -> Option<&str> {
    state(pod)?.waiting.as_ref()?.reason.as_deref()
}

pub fn phase(pod: &Pod) -> &str {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

pub fn condition(pod: &Pod, of: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let one = conditions.iter().find(|one| one.type_ == of)?;
    Some(one.status.clone())
}

pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").as_deref() == Some("True")
}

pub fn is_running(pod: &Pod) -> bool {
    phase(pod) == "Running" && state(pod).is_some_and(|state| state.running.is_some())
}
