//! The fields that selectors may name, per kind, as upstream's `ToSelectableFields` and field label conversions have them. `None` is an unknown
//! field; a known one that is unset is the empty text.

use serde_json::Value;

/// The fields that every kind has.
#[must_use]
pub fn metadata_field(object: &Value, field: &str) -> Option<String> {
    match field {
        "metadata.name" | "metadata.namespace" => Some(at(object, field)),
        _ => None,
    }
}

fn among(object: &Value, field: &str, known: &[&str]) -> Option<String> {
    match metadata_field(object, field) {
        None if known.contains(&field) => Some(at(object, field)),
        found => found,
    }
}

/// The value at a dotted path as text.
fn at(object: &Value, path: &str) -> String {
    match path
        .split('.')
        .try_fold(object, |value, name| value.get(name))
    {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Fields of a Pod.
#[must_use]
pub fn pod_field(object: &Value, field: &str) -> Option<String> {
    match field {
        "spec.hostNetwork" => Some(
            object
                .pointer("/spec/hostNetwork")
                .and_then(Value::as_bool)
                .unwrap_or(false)
                .to_string(),
        ),
        _ => among(
            object,
            field,
            &[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ],
        ),
    }
}

/// Fields of a Node.
#[must_use]
pub fn node_field(object: &Value, field: &str) -> Option<String> {
    match field {
        "spec.unschedulable" => Some(
            object
                .pointer("/spec/unschedulable")
                .and_then(Value::as_bool)
                .unwrap_or(false)
                .to_string(),
        ),
        _ => metadata_field(object, field),
    }
}

/// Fields of a Service.
#[must_use]
pub fn service_field(object: &Value, field: &str) -> Option<String> {
    among(object, field, &["spec.clusterIP", "spec.type"])
}

/// Fields of a Secret.
#[must_use]
pub fn secret_field(object: &Value, field: &str) -> Option<String> {
    among(object, field, &["type"])
}

/// Fields of a Job.
#[must_use]
pub fn job_field(object: &Value, field: &str) -> Option<String> {
    match field {
        "status.successful" => Some(
            object
                .pointer("/status/succeeded")
                .and_then(Value::as_i64)
                .unwrap_or(0)
                .to_string(),
        ),
        _ => metadata_field(object, field),
    }
}

/// Fields of an Event.
#[must_use]
pub fn event_field(object: &Value, field: &str) -> Option<String> {
    match field {
        "source" => {
            let source = at(object, "source.component");
            Some(if source.is_empty() {
                at(object, "reportingComponent")
            } else {
                source
            })
        }
        _ => among(
            object,
            field,
            &[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "involvedObject.resourceVersion",
                "involvedObject.fieldPath",
                "reason",
                "reportingComponent",
                "type",
            ],
        ),
    }
}
