//! metrics.k8s.io: what nodes and pods use, for `kubectl top` and the autoscaler. Asked from the nodes at every request, kept nowhere.

use std::{collections::BTreeSet, sync::Arc};

use axum::response::Response;
use coracle_api::{registry::Resource, status::ApiError};
use coracle_store::{Record, Revision};
use http::StatusCode;
use serde_json::{Value, json};

use super::stats::{self, Stats, Usage};
use crate::{
    encoded::{self, Stored},
    keys, meta,
    path::Verb,
    reads::{
        list::{self, Listed},
        selection::Selection,
        view::ListMeta,
    },
    resources::Call,
};

pub(super) async fn of_nodes(call: &Call<'_>) -> Result<Response, ApiError> {
    let nodes = objects(call, "nodes").await?;
    let names = nodes
        .iter()
        .filter_map(|node| Some(meta::name(node)?.to_owned()));
    let stats = stats::of(call.server, names.collect()).await;
    let measured = nodes.iter().filter_map(|node| {
        let stats = stats.get(meta::name(node)?)?;
        let mut measured = head(call, node, stats);
        meta::put(&mut measured, "usage", usage(stats.node));
        Some(measured)
    });
    show(call, measured.collect()).await
}

pub(super) async fn of_pods(call: &Call<'_>) -> Result<Response, ApiError> {
    let pods = objects(call, "pods").await?;
    let node_of = |pod: &Value| meta::text_at(pod, &["spec", "nodeName"]).map(str::to_owned);
    let nodes: BTreeSet<String> = pods.iter().filter_map(node_of).collect();
    let stats = stats::of(call.server, nodes.into_iter().collect()).await;
    let measured = pods.iter().filter_map(|pod| {
        let stats = stats.get(&node_of(pod)?)?;
        // The uid too: a pod of the same name may have been there before.
        let of_pod = stats.pods.iter().find(|stats| {
            Some(stats.name.as_str()) == meta::name(pod)
                && Some(stats.namespace.as_str()) == meta::namespace(pod)
                && Some(stats.uid.as_str()) == meta::uid(pod)
        })?;
        let mut measured = head(call, pod, stats);
        let containers: Vec<_> = of_pod
            .containers
            .iter()
            .map(|container| json!({"name": container.name, "usage": usage(container.usage)}))
            .collect();
        meta::put(&mut measured, "containers", containers);
        Some(measured)
    });
    show(call, measured.collect()).await
}

/// The stored nodes or pods that are asked about.
async fn objects(call: &Call<'_>, plural: &str) -> Result<Vec<Value>, ApiError> {
    let resource = call
        .server
        .registry()
        .get("", "v1", plural)
        .cloned()
        .ok_or_else(|| ApiError::internal(format!("the registry has no {plural}")))?;
    if let Some(name) = call.named() {
        let key = keys::object(&resource, call.namespace(), name);
        let found = call
            .server
            .store
            .get(&key)
            .await
            .map_err(crate::error::from_store)?;
        return found
            .map(|record| Stored::open(record)?.value())
            .into_iter()
            .collect();
    }
    let selection = Selection::parse(&resource, call.query, None)?;
    let store = &*call.server.store;
    let listed = list::take(store, &resource, call.namespace(), &selection, call.query).await?;
    let records = listed.items.into_iter();
    records
        .map(|record| Stored::open(record)?.value())
        .collect()
}

/// Everything of a measurement but what was measured.
fn head(call: &Call<'_>, of: &Value, stats: &Stats) -> Value {
    let mut metadata = json!({"name": meta::name(of), "creationTimestamp": stats.time});
    if let Some(namespace) = meta::namespace(of) {
        meta::put(&mut metadata, "namespace", json!(namespace));
    }
    if let Some(labels) = meta::at(of, &["metadata", "labels"]) {
        meta::put(&mut metadata, "labels", labels.clone());
    }
    json!({
        "kind": call.resource.kind, "apiVersion": call.resource.api_version(), "metadata": metadata,
        "timestamp": stats.time, "window": stats.window,
    })
}

/// As quantities, in the units of upstream's metrics server.
fn usage(usage: Usage) -> Value {
    json!({
        "cpu": format!("{}n", usage.usage_nano_cores),
        "memory": format!("{}Ki", usage.working_set_bytes / 1024),
    })
}

/// Shows measurements like stored objects. They are at no revision.
async fn show(call: &Call<'_>, measured: Vec<Value>) -> Result<Response, ApiError> {
    if call.verb == Verb::Get {
        let name = call.named().unwrap_or_default();
        return match measured.first() {
            Some(object) => {
                let stored = Stored::open(record(&call.resource, object)?)?;
                call.show(StatusCode::OK, &stored, &[])
            }
            None => Err(ApiError::not_found(&call.resource, name)),
        };
    }
    let items = measured.iter().map(|object| record(&call.resource, object));
    let listed = Listed {
        items: items.collect::<Result<_, _>>()?,
        meta: ListMeta::default(),
    };
    call.show_list(listed).await
}

fn record(resource: &Resource, object: &Value) -> Result<Arc<Record>, ApiError> {
    let name = meta::name(object).unwrap_or_default();
    Ok(Arc::new(Record {
        key: keys::object(resource, meta::namespace(object), name).into(),
        value: encoded::encode(object)?,
        created: Revision(0),
        modified: Revision(0),
    }))
}
