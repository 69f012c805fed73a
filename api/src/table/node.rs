//! Table of Nodes.

use jiff::Timestamp;
use serde_json::Value;

use super::{NONE, UNKNOWN, age, column, list, name, name_column, text};
use crate::registry::Column;

/// NAME, STATUS, ROLES, AGE, VERSION; wide: addresses and what runs there.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Status", "string", 0),
        column("Roles", "string", 0),
        column("Age", "string", 0),
        column("Version", "string", 0),
        column("Internal-IP", "string", 1),
        column("External-IP", "string", 1),
        column("OS-Image", "string", 1),
        column("Kernel-Version", "string", 1),
        column("Container-Runtime", "string", 1),
    ]
}

/// Cells of a Node.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let address = |of: &str| {
        let found = list(object, "/status/addresses")
            .iter()
            .find(|address| text(address, "/type") == of);
        found
            .map_or(NONE, |address| text(address, "/address"))
            .to_owned()
    };
    let info = |field: &str| match text(object, &format!("/status/nodeInfo/{field}")) {
        "" => UNKNOWN.to_owned(),
        known => known.to_owned(),
    };
    vec![
        name(object),
        status(object).into(),
        roles(object).into(),
        age(object, now),
        text(object, "/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage").into(),
        info("kernelVersion").into(),
        info("containerRuntimeVersion").into(),
    ]
}

fn status(object: &Value) -> String {
    let ready = list(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "Ready");
    let mut shown = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object
        .pointer("/spec/unschedulable")
        .and_then(Value::as_bool)
        == Some(true)
    {
        shown.push_str(",SchedulingDisabled");
    }
    shown
}

fn roles(object: &Value) -> String {
    let labels = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let mut roles: Vec<&str> = Vec::new();
    for (label, value) in labels.into_iter().flatten() {
        match (
            label.strip_prefix("node-role.kubernetes.io/"),
            label.as_str(),
        ) {
            (Some(role), _) if !role.is_empty() => roles.push(role),
            (_, "kubernetes.io/role") => {
                roles.extend(value.as_str().filter(|role| !role.is_empty()))
            }
            _ => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        NONE.to_owned()
    } else {
        roles.join(",")
    }
}
