//! Scenes for tests: nodes and pods in a few words.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::{Request, Snapshot, Unschedulable};

/// `into` with what `more` says, objects deep, lists as wholes.
pub fn merge(into: &mut Value, more: &Value) {
    match (into.as_object_mut(), more.as_object()) {
        (Some(map), Some(more)) => {
            for (key, value) in more {
                merge(map.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        _ => *into = more.clone(),
    }
}

/// A node of so many cores and 10 pods, with its name as its host's label, and more.
pub fn node(name: &str, cpu: &str, more: Value) -> Arc<Node> {
    let mut node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}}});
    merge(&mut node, &more);
    Arc::new(serde_json::from_value(node).unwrap())
}

/// A node in a zone.
pub fn in_zone(name: &str, zone: &str) -> Arc<Node> {
    node(
        name,
        "8",
        json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}),
    )
}

/// A pod `app=APP` that requests so much CPU, and more.
pub fn pod(uid: &str, app: &str, cpu: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"name": uid, "uid": uid, "namespace": "a", "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    merge(&mut pod, &more);
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// A pod with more in its spec.
pub fn with(uid: &str, app: &str, spec: Value) -> Arc<Pod> {
    pod(uid, app, "1m", json!({ "spec": spec }))
}

impl Snapshot {
    /// Decides about a pod.
    pub fn decide(&mut self, pod: &Arc<Pod>, chance: usize) -> Result<String, Unschedulable> {
        let request = self.prepare(Arc::clone(pod));
        crate::assign(&request, self, chance)
    }

    /// Decides about a pod and puts it where it goes.
    pub fn settle(&mut self, pod: &Arc<Pod>, chance: usize) -> Result<String, Unschedulable> {
        let request = self.prepare(Arc::clone(pod));
        let node = crate::assign(&request, self, chance)?;
        self.place(&node, Arc::new(request));
        Ok(node)
    }

    /// What a pod asks for.
    pub fn request(&mut self, pod: &Arc<Pod>) -> Arc<Request> {
        Arc::new(self.prepare(Arc::clone(pod)))
    }
}
