//! Tables of NodeMetrics and PodMetrics (`kubectl top` reads the objects; `kubectl get` reads this).

use jiff::Timestamp;
use serde_json::Value;

use super::{column, list, name, name_column, text};
use crate::{quantity::Quantity, registry::Column};

/// NAME, CPU, MEMORY, WINDOW.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("CPU", "string", 0),
        column("Memory", "string", 0),
        column("Window", "string", 0),
    ]
}

/// Cells of a NodeMetrics.
#[must_use]
pub fn node(object: &Value, _now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/usage/cpu").into(),
        text(object, "/usage/memory").into(),
        text(object, "/window").into(),
    ]
}

/// Cells of a PodMetrics: the sum of its containers.
#[must_use]
pub fn pod(object: &Value, _now: Timestamp) -> Vec<Value> {
    let sum = |of: &str, zero: Quantity| {
        let amounts = list(object, "/containers")
            .iter()
            .filter_map(|one| Quantity::parse(text(one, &format!("/usage/{of}"))).ok());
        amounts.fold(zero, Quantity::plus).to_string()
    };
    vec![
        name(object),
        sum("cpu", Quantity::ZERO).into(),
        sum("memory", Quantity::from_bytes(0)).into(),
        text(object, "/window").into(),
    ]
}
