//! Table of EndpointSlices.

use jiff::Timestamp;
use serde_json::Value;

use super::{age, column, list, name, name_column, text};
use crate::registry::Column;

/// As many ports or endpoints are shown before "more".
const SHOWN: usize = 3;

/// NAME, ADDRESSTYPE, PORTS, ENDPOINTS, AGE.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("AddressType", "string", 0),
        column("Ports", "string", 0),
        column("Endpoints", "string", 0),
        column("Age", "string", 0),
    ]
}

/// Cells of an EndpointSlice.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports =
        list(object, "/ports")
            .iter()
            .map(|port| match port.get("port").and_then(Value::as_i64) {
                Some(number) => number.to_string(),
                None => "*".to_owned(),
            });
    let addresses = list(object, "/endpoints")
        .iter()
        .filter_map(|endpoint| list(endpoint, "/addresses").first()?.as_str());
    vec![
        name(object),
        text(object, "/addressType").into(),
        some(ports.collect()).into(),
        some(addresses.map(str::to_owned).collect()).into(),
        age(object, now),
    ]
}

fn some(all: Vec<String>) -> String {
    match all.len() {
        0 => "<unset>".to_owned(),
        count if count > SHOWN => format!(
            "{} + {} more...",
            all.iter()
                .take(SHOWN)
                .cloned()
                .collect::<Vec<_>>()
                .join(","),
            count - SHOWN
        ),
        _ => all.join(","),
    }
}
