//! Events are news, not state: they go after a while, or they would fill the store. Deletes what has expired, in bounded transactions.

use std::{sync::Arc, time::Duration};

use coracle_api::status::ApiError;
use coracle_store::{List, Op, Record, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{encoded::Stored, error, keys, meta, server::Shared};

/// How many events are looked at, and at most deleted, in one go: etcd takes 128 operations in a transaction.
const BATCH: usize = 100;
/// The groups whose events these are: the two views have one storage each.
const GROUPS: [&str; 2] = ["", "events.k8s.io"];

/// Deletes the events that nothing has happened to for `lifetime`. Says how many.
///
/// # Errors
/// What the store says; what was deleted until then is.
pub async fn sweep(server: &Arc<Shared>, lifetime: Duration) -> Result<usize, ApiError> {
    let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
    let oldest = server
        .ambient
        .now()
        .checked_sub(lifetime)
        .unwrap_or(Timestamp::MIN);
    let registry = server.registry();
    let mut deleted = 0;
    for resource in registry.iter() {
        if resource.kind != "Event" || !GROUPS.contains(&&*resource.group) {
            continue;
        }
        let prefix = keys::collection(resource, None);
        let mut after = None;
        loop {
            let list = List {
                prefix: prefix.clone(),
                after,
                limit: Some(BATCH),
                at: None,
            };
            let page = server.store.list(list).await.map_err(error::from_store)?;
            deleted += delete(server, &page.records, oldest).await?;
            after = page.records.last().map(|record| record.key.to_string());
            if page.remaining == 0 {
                break;
            }
        }
    }
    Ok(deleted)
}

/// Deletes those of `records` that have expired. One that something happens to meanwhile keeps them all for the next time.
async fn delete(
    server: &Shared,
    records: &[Arc<Record>],
    oldest: Timestamp,
) -> Result<usize, ApiError> {
    let mut ops = Vec::new();
    for record in records {
        let event = Stored::open(Arc::clone(record))?.value()?;
        if last(&event).is_some_and(|last| last < oldest) {
            ops.push(Op::delete(&*record.key, record.modified).volatile());
        }
    }
    let count = ops.len();
    if count == 0 {
        return Ok(0);
    }
    match server.store.commit(ops).await {
        Ok(_) => Ok(count),
        Err(StoreError::Conflict { .. }) => Ok(0),
        Err(error) => Err(error::from_store(error)),
    }
}

/// When the event was last news: the latest of its times that there are.
fn last(event: &Value) -> Option<Timestamp> {
    [
        meta::text_at(event, &["series", "lastObservedTime"]),
        meta::text_at(event, &["lastTimestamp"]),
        meta::text_at(event, &["deprecatedLastTimestamp"]),
        meta::text_at(event, &["eventTime"]),
        meta::text(event, "creationTimestamp"),
    ]
    .into_iter()
    .flatten()
    .filter_map(|time| time.parse().ok())
    .max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_as_old_as_its_last_news() {
        let event = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": "2026-01-01T00:30:00Z",
            "series": {"lastObservedTime": "2026-01-01T00:10:00.5Z"}, "eventTime": null});
        assert_eq!(last(&event), Some("2026-01-01T00:30:00Z".parse().unwrap()));
        assert_eq!(last(&json!({"metadata": {}})), None);
    }
}
