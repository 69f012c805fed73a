//! Table of Jobs.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, containers, duration, list, name, name_column, number, selector, text};
use crate::registry::Column;

/// NAME, STATUS, COMPLETIONS, DURATION, AGE; wide: CONTAINERS, IMAGES, SELECTOR.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Status", "string", 0),
        column("Completions", "string", 0),
        column("Duration", "string", 0),
        column("Age", "string", 0),
        column("Containers", "string", 1),
        column("Images", "string", 1),
        column("Selector", "string", 1),
    ]
}

/// Cells of a Job.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        status(object).into(),
        completions(object).into(),
        lasted(object, now).into(),
        age(object, now),
        containers(object, "/spec/template/spec", "name").into(),
        containers(object, "/spec/template/spec", "image").into(),
        selector(object, "/spec/selector").into(),
    ]
}

fn status(object: &Value) -> &'static str {
    let is_true = |of: &str| {
        let conditions = list(object, "/status/conditions").iter();
        conditions
            .filter(|condition| text(condition, "/status") == "True")
            .any(|condition| text(condition, "/type") == of)
    };
    let told = [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("FailureTarget", "FailureTarget"),
        ("Suspended", "Suspended"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ];
    if object.pointer("/metadata/deletionTimestamp").is_some()
        && !is_true("Complete")
        && !is_true("Failed")
    {
        return "Terminating";
    }
    told.into_iter()
        .find(|(of, _)| is_true(of))
        .map_or("Running", |(_, shown)| shown)
}

fn completions(object: &Value) -> String {
    let succeeded = number(object, "/status/succeeded");
    match object.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None => match number(object, "/spec/parallelism") {
            parallel if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
            _ => format!("{succeeded}/1"),
        },
    }
}

fn lasted(object: &Value, now: Timestamp) -> String {
    let Ok(started) = text(object, "/status/startTime").parse::<Timestamp>() else {
        return String::new();
    };
    let ended = text(object, "/status/completionTime")
        .parse::<Timestamp>()
        .unwrap_or(now);
    duration::human(ended.duration_since(started))
}
