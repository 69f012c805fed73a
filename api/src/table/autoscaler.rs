//! Table of HorizontalPodAutoscalers.

use jiff::Timestamp;
use serde_json::Value;

use super::{NONE, UNKNOWN, age, column, list, name, name_column, number, text};
use crate::registry::Column;

/// NAME, REFERENCE, TARGETS, MINPODS, MAXPODS, REPLICAS, AGE.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Reference", "string", 0),
        column("Targets", "string", 0),
        column("MinPods", "string", 0),
        column("MaxPods", "integer", 0),
        column("Replicas", "integer", 0),
        column("Age", "string", 0),
    ]
}

/// Cells of a HorizontalPodAutoscaler.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let reference = format!(
        "{}/{}",
        text(object, "/spec/scaleTargetRef/kind"),
        text(object, "/spec/scaleTargetRef/name")
    );
    let minimum = object.pointer("/spec/minReplicas").and_then(Value::as_i64);
    vec![
        name(object),
        reference.into(),
        targets(object).into(),
        minimum
            .map_or_else(|| "<unset>".to_owned(), |minimum| minimum.to_string())
            .into(),
        number(object, "/spec/maxReplicas").into(),
        number(object, "/status/currentReplicas").into(),
        age(object, now),
    ]
}

/// As many metrics are shown before "more".
const SHOWN: usize = 2;

fn targets(object: &Value) -> String {
    let metrics = list(object, "/spec/metrics");
    if metrics.is_empty() {
        return NONE.to_owned();
    }
    let currents = list(object, "/status/currentMetrics");
    let shown: Vec<String> = metrics
        .iter()
        .take(SHOWN)
        .enumerate()
        .map(|(index, metric)| target(metric, currents.get(index)))
        .collect();
    let mut text = shown.join(", ");
    if metrics.len() > SHOWN {
        text.push_str(&format!(" + {} more...", metrics.len() - SHOWN));
    }
    text
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let (source, name) = match text(metric, "/type") {
        "Resource" => ("resource", text(metric, "/resource/name").to_owned()),
        "ContainerResource" => (
            "containerResource",
            text(metric, "/containerResource/name").to_owned(),
        ),
        "Pods" => ("pods", String::new()),
        "Object" => ("object", String::new()),
        "External" => ("external", String::new()),
        _ => return "<unknown type>".to_owned(),
    };
    let current = |field: &str| {
        current.and_then(|current| current.pointer(&format!("/{source}/current/{field}")))
    };
    let prefix = if name.is_empty() {
        String::new()
    } else {
        format!("{name}: ")
    };
    if let Some(wanted) = metric
        .pointer(&format!("/{source}/target/averageUtilization"))
        .and_then(Value::as_i64)
    {
        let now = current("averageUtilization")
            .and_then(Value::as_i64)
            .map_or_else(|| UNKNOWN.to_owned(), |now| format!("{now}%"));
        return format!("{prefix}{now}/{wanted}%");
    }
    for (field, suffix) in [("averageValue", " (avg)"), ("value", "")] {
        let wanted = text(metric, &format!("/{source}/target/{field}"));
        if !wanted.is_empty() {
            let now = current(field).and_then(Value::as_str).unwrap_or(UNKNOWN);
            let suffix = if name.is_empty() { suffix } else { "" };
            return format!("{prefix}{now}/{wanted}{suffix}");
        }
    }
    format!("{prefix}{UNKNOWN}/<auto>")
}
