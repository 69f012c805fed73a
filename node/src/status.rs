//! Tells the API server a pod's status: the patch that says it, and whether it can wait a moment. Sending is the worker's business.

use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// How long a status may wait that says nothing but that containers are being created. With the image at hand they run before that, and one write is
/// saved; without it nobody misses the moment.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// The patch (strategic merge) that makes `status` the pod's, given that it still is the pod with this uid. Conditions of others stay.
#[must_use]
pub fn patch(uid: &str, status: &PodStatus) -> Value {
    let mut written = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = written.as_object_mut() {
        // What is not said any more must go.
        for field in ["reason", "message"] {
            fields.entry(field).or_insert(Value::Null);
        }
        // Addresses are merged by themselves, and old ones would stay.
        for field in ["podIPs", "hostIPs"] {
            if let Some(list) = fields.get_mut(field).and_then(Value::as_array_mut) {
                list.insert(0, json!({ "$patch": "replace" }));
            }
        }
        let conditions = fields.get_mut("conditions").and_then(Value::as_array_mut);
        for condition in conditions
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            for field in ["reason", "message"] {
                condition.entry(field).or_insert(Value::Null);
            }
        }
        // The API server's defaulting decides on it.
        if fields.get("qosClass").is_some_and(Value::is_null) {
            fields.remove("qosClass");
        }
    }
    let mut patch = Map::new();
    patch.insert("metadata".to_owned(), json!({ "uid": uid }));
    patch.insert("status".to_owned(), written);
    Value::Object(patch)
}

/// Whether all that is new in `status` is that containers are about to be created.
#[must_use]
pub fn can_wait(status: &PodStatus) -> bool {
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let mut containers = lists.into_iter().flatten().flatten().peekable();
    containers.peek().is_some()
        && containers.all(|one| {
            let waiting = one.state.as_ref().and_then(|state| state.waiting.as_ref());
            let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
            matches!(reason, Some("ContainerCreating" | "PodInitializing"))
        })
}

#[cfg(test)]
mod tests {
    use coracle_api::{patch::strategic, registry::Registry};

    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_patch_replaces_what_is_ours_and_keeps_what_is_others() {
        let before = json!({ "metadata": { "name": "p", "uid": "u" }, "status": {
            "phase": "Failed", "reason": "Old", "message": "old", "qosClass": "Burstable",
            "podIPs": [{ "ip": "10.0.0.1" }],
            "conditions": [
                { "type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "x" },
                { "type": "example.com/gate", "status": "True" }
            ],
            "containerStatuses": [{ "name": "c", "state": { "waiting": { "reason": "ContainerCreating" } }, "ready": false, "restartCount": 0, "image": "", "imageID": "" }]
        } });
        let now = status(json!({
            "phase": "Running", "podIPs": [{ "ip": "10.0.0.2" }],
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{ "name": "c", "state": { "running": {} }, "ready": true, "restartCount": 0, "image": "i", "imageID": "i@x" }]
        }));
        let schema = Registry::builtin().get("", "v1", "pods").unwrap().schema();
        let after = strategic::apply(&before, &patch("u", &now), &schema).unwrap();
        let status = &after["status"];
        assert_eq!(status["podIPs"], json!([{ "ip": "10.0.0.2" }]));
        assert_eq!(
            status["conditions"],
            json!([{ "type": "Ready", "status": "True" }, { "type": "example.com/gate", "status": "True" }])
        );
        assert_eq!(
            status["containerStatuses"][0]["state"],
            json!({ "running": {} })
        );
        assert_eq!((status.get("reason"), status.get("message")), (None, None));
        assert_eq!(status["qosClass"], "Burstable");
    }

    #[test]
    fn only_what_says_that_containers_are_created_can_wait() {
        let of = |reason: &str| {
            status(json!({ "containerStatuses": [
            { "name": "c", "state": { "waiting": { "reason": reason } }, "ready": false, "restartCount": 0, "image": "", "imageID": "" }
        ] }))
        };
        assert!(can_wait(&of("ContainerCreating")));
        assert!(!can_wait(&of("ErrImagePull")));
        assert!(!can_wait(&PodStatus::default()));
    }
}
