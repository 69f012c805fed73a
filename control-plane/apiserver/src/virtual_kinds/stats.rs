//! What a node says about its use of resources: the JSON of its `/stats` endpoint, and asking for it. Rates are averages over the window that ends at the
//! time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::body::Body;
use coracle_api::status::ApiError;
use futures::{StreamExt as _, stream};
use http::Request;
use serde::Deserialize;
use tokio::time::timeout;

use crate::{body, error, server::Shared};

/// The answer of a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    /// When, RFC 3339.
    pub time: String,
    /// Over how long the rates are taken, as a duration of Kubernetes (`10s`).
    pub window: String,
    /// All of the node.
    pub node: Usage,
    /// The pods that run there.
    #[serde(default)]
    pub pods: Vec<PodStats>,
}

/// A pod of a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodStats {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub containers: Vec<ContainerStats>,
}

/// A container of a pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerStats {
    pub name: String,
    #[serde(flatten)]
    pub usage: Usage,
}

/// What something uses.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    /// CPU time per time, in billionths of a core.
    pub usage_nano_cores: u64,
    /// Memory in bytes.
    pub working_set_bytes: u64,
}

/// How long a node may take. It answers from counters; what takes longer is cut off or in trouble, and the others are not to wait for it.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// So many nodes are asked at once.
const AT_ONCE: usize = 32;
/// The largest answer: 10,000 pods with a few containers each.
const MAX_ANSWER: usize = 16 << 20;

/// Asks nodes. Those that cannot be asked are missing in the answer, as in upstream's metrics server.
pub(super) async fn of(server: &Arc<Shared>, nodes: Vec<String>) -> BTreeMap<String, Stats> {
    let asked = stream::iter(nodes).map(|node| async move {
        match timeout(ANSWER_TIME, ask(server, &node)).await {
            Ok(Ok(stats)) => Some((node, stats)),
            Ok(Err(error)) => {
                tracing::debug!(node, error = %error, "no stats from a node");
                None
            }
            Err(_) => {
                tracing::debug!(node, "a node did not answer in time");
                None
            }
        }
    });
    asked
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn ask(server: &Shared, node: &str) -> Result<Stats, ApiError> {
    let request = Request::get("/stats")
        .body(Body::empty())
        .map_err(|error| ApiError::internal(format!("asking node {node}: {error}")))?;
    let answer = server
        .nodes
        .call(node, request)
        .await
        .map_err(error::from_link)?;
    if !answer.status().is_success() {
        let why = format!("node {node} answered {} to /stats", answer.status());
        return Err(ApiError::unavailable(why));
    }
    let bytes = body::read(answer.into_body(), MAX_ANSWER).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::internal(format!("the stats of node {node}: {error}")))
}
