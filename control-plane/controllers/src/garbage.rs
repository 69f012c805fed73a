//! Garbage collection by owner reference, over all kinds. Keys are uids: [`plan`] decides about one object at a time, from the graph of owners.

pub mod plan;

#[cfg(test)]
mod tests;

use coracle_api::names::ObjectKey;

use crate::{
    action::Plan,
    controller::{Controller, Seen, Watch},
};

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Garbage;

impl Controller for Garbage {
    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::every(|change| {
            change.touched.iter().map(ObjectKey::cluster).collect()
        })]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let graph = &seen.caches.graph;
        let vertex = graph.get(&key.name)?;
        Some(plan::plan(vertex, graph))
    }
}
