//! Binds a pod to a node: the scheduler's only write to a pod's spec.

use axum::{body::Body, response::Response};
use coracle_api::status::ApiError;
use http::StatusCode;
use serde_json::{Value, json};

use super::read_object;
use crate::{
    ambient, answer, meta,
    resources::Call,
    writes::{prepare::Part, update::Made},
};

pub(super) async fn create(call: &Call<'_>, name: &str, body: Body) -> Result<Response, ApiError> {
    let binding = read_object(call, body, "v1", "Binding").await?;
    if meta::name(&binding).is_some_and(|sent| sent != name) {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    let node = target(&binding)?.to_owned();
    let now = ambient::timestamp(call.server.ambient.now());
    let mut write = call.write()?;
    let updated = write.update(name, Part::Bind, |pod, _| {
        bind(pod, &binding, &node, &now, |why| {
            ApiError::conflict(&call.resource, name, why)
        })
    });
    updated.await?;
    Ok(answer::value(StatusCode::CREATED, &answer::success(None)))
}

/// The node a binding names.
fn target(binding: &Value) -> Result<&str, ApiError> {
    let kind = meta::text_at(binding, &["target", "kind"]).unwrap_or("Node");
    let node = meta::text_at(binding, &["target", "name"]).unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        return Err(ApiError::bad_request(format!(
            "target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""
        )));
    }
    if node.is_empty() {
        return Err(ApiError::bad_request("target.name: Required value"));
    }
    Ok(node)
}

/// The pod as it is once bound.
fn bind(
    pod: &Value,
    binding: &Value,
    node: &str,
    now: &str,
    conflict: impl Fn(&str) -> ApiError,
) -> Result<Made, ApiError> {
    let name = meta::name(pod).unwrap_or_default();
    if let Some(uid) = meta::uid(binding)
        && meta::uid(pod) != Some(uid)
    {
        let is = meta::uid(pod).unwrap_or_default();
        return Err(conflict(&format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {is}"
        )));
    }
    if meta::is_terminating(pod) {
        return Err(conflict(&format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        )));
    }
    let bound = meta::text_at(pod, &["spec", "nodeName"]).unwrap_or_default();
    if !bound.is_empty() {
        return Err(conflict(&format!(
            "pod {name} is already assigned to node {bound:?}"
        )));
    }
    if meta::at(pod, &["spec", "schedulingGates"])
        .and_then(Value::as_array)
        .is_some_and(|gates| !gates.is_empty())
    {
        return Err(conflict(&format!(
            "pod {name} has non-empty .spec.schedulingGates"
        )));
    }
    let mut pod = pod.clone();
    meta::child_mut(&mut pod, "spec").insert("nodeName".to_owned(), json!(node));
    for field in ["annotations", "labels"] {
        let sent = meta::at(binding, &["metadata", field]).and_then(Value::as_object);
        let sent = sent.filter(|sent| !sent.is_empty());
        if let Some(sent) = sent {
            let into = meta::metadata_mut(&mut pod)
                .entry(field)
                .or_insert_with(|| json!({}));
            if let Some(into) = into.as_object_mut() {
                into.extend(sent.clone());
            }
        }
    }
    let conditions = meta::child_mut(&mut pod, "status")
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|condition| condition.get("type") != Some(&json!("PodScheduled")));
        conditions.push(
            json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}),
        );
    }
    Ok(Made {
        object: pod,
        insists: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pod: Value, binding: Value) -> Result<Value, u16> {
        let node = target(&binding).map_err(|error| error.code)?.to_owned();
        let conflict = |why: &str| ApiError {
            code: 409,
            ..ApiError::bad_request(why)
        };
        bind(&pod, &binding, &node, "1970-01-01T00:00:00Z", conflict)
            .map(|made| made.object)
            .map_err(|error| error.code)
    }

    #[test]
    fn a_pod_is_bound_once() {
        let pod = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {}, "status": {"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
        let binding = json!({"metadata": {"name": "a", "uid": "u", "annotations": {"x": "y"}}, "target": {"kind": "Node", "name": "n1"}});
        let bound = told(pod.clone(), binding.clone()).unwrap();
        assert_eq!(bound["spec"]["nodeName"], "n1");
        assert_eq!(bound["metadata"]["annotations"], json!({"x": "y"}));
        assert_eq!(
            bound["status"]["conditions"],
            json!([{"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": "1970-01-01T00:00:00Z"}])
        );
        assert_eq!(told(bound, binding.clone()), Err(409), "again");
        let mut other = binding.clone();
        other["metadata"]["uid"] = json!("v");
        assert_eq!(
            told(pod.clone(), other),
            Err(409),
            "another pod of that name"
        );
        let mut going = pod.clone();
        going["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        assert_eq!(told(going, binding.clone()), Err(409), "being deleted");
        let mut gated = pod.clone();
        gated["spec"]["schedulingGates"] = json!([{"name": "g"}]);
        assert_eq!(told(gated, binding), Err(409), "gated");
        assert_eq!(told(pod.clone(), json!({"target": {}})), Err(400));
        let service = json!({"target": {"kind": "Service", "name": "x"}});
        assert_eq!(told(pod, service), Err(400));
    }
}
