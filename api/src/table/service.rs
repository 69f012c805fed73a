//! Table of Services.

use jiff::Timestamp;
use serde_json::Value;

use super::{NONE, age, column, list, name, name_column, number, or_none, text};
use crate::registry::Column;

/// NAME, TYPE, CLUSTER-IP, EXTERNAL-IP, PORT(S), AGE; wide: SELECTOR.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Type", "string", 0),
        column("Cluster-IP", "string", 0),
        column("External-IP", "string", 0),
        column("Port(s)", "string", 0),
        column("Age", "string", 0),
        column("Selector", "string", 1),
    ]
}

/// Cells of a Service.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/spec/type").into(),
        or_none(text(object, "/spec/clusterIP")).into(),
        external(object).into(),
        ports(object).into(),
        age(object, now),
        selector(object).into(),
    ]
}

fn external(object: &Value) -> String {
    let given = || {
        list(object, "/spec/externalIPs")
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",")
    };
    match text(object, "/spec/type") {
        "ExternalName" => text(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = list(object, "/status/loadBalancer/ingress").iter();
            let mut found: Vec<String> = ingress
                .map(|one| {
                    if text(one, "/ip").is_empty() {
                        text(one, "/hostname")
                    } else {
                        text(one, "/ip")
                    }
                    .to_owned()
                })
                .collect();
            found.extend(Some(given()).filter(|given| !given.is_empty()));
            if found.is_empty() {
                "<pending>".to_owned()
            } else {
                found.join(",")
            }
        }
        _ => or_none(&given()).to_owned(),
    }
}

fn ports(object: &Value) -> String {
    let ports = list(object, "/spec/ports").iter().map(|port| {
        let protocol = text(port, "/protocol");
        match number(port, "/nodePort") {
            0 => format!("{}/{protocol}", number(port, "/port")),
            node_port => format!("{}:{node_port}/{protocol}", number(port, "/port")),
        }
    });
    or_none(&ports.collect::<Vec<_>>().join(",")).to_owned()
}

fn selector(object: &Value) -> String {
    let Some(labels) = object.pointer("/spec/selector").and_then(Value::as_object) else {
        return NONE.to_owned();
    };
    let parts = labels
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    or_none(&parts.collect::<Vec<_>>().join(",")).to_owned()
}
