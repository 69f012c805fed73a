//! Large lists without holding up writers and everybody behind them: read in pieces, each under the lock for a moment, then brought to one revision
//! by undoing what happened between the pieces.

use std::{collections::BTreeMap, sync::Arc};

use super::Shared;
use crate::{
    error::StoreError,
    record::Record,
    revision::Revision,
    storage::{List, Page},
    watch::{Event, Source},
};

/// How many records are read under the lock at a time: a fraction of a millisecond.
pub(super) const PIECE: usize = 1000;
/// How many events at a time.
const EVENTS: usize = 1000;

/// Records of a range of keys, as they were at a revision.
struct Piece {
    records: Vec<Arc<Record>>,
    revision: Revision,
    /// The range's last key; `None` for the rest.
    end: Option<Arc<str>>,
}

/// A page of records at one revision, read in pieces of `size`.
pub(super) async fn list(shared: &Shared, list: &List, size: usize) -> Result<Page, StoreError> {
    let (mut pieces, at) = {
        let state = shared.state.read();
        let at = list.at.unwrap_or(state.revision());
        // Also where nothing will be undone: what is asked for must be known.
        state.check_watch(&list.prefix, at)?;
        let first = state.some_after(&list.prefix, list.after.as_deref(), size);
        (vec![Piece::new(first, state.revision(), size)], at)
    };
    while let Some(end) = pieces.last().and_then(|piece| piece.end.clone()) {
        tokio::task::yield_now().await;
        let state = shared.state.read();
        let some = state.some_after(&list.prefix, Some(&end), size);
        pieces.push(Piece::new(some, state.revision(), size));
    }
    let newest = pieces.last().map_or(at, |piece| piece.revision);
    if newest == at {
        let records = pieces.into_iter().flat_map(|piece| piece.records);
        return Ok(page(records, list, at));
    }
    match events_between(shared, &list.prefix, at, newest).await {
        Ok(events) => Ok(page(undone(pieces, &events, list).into_iter(), list, at)),
        // What happened meanwhile is more than history holds. Then all at once, if any revision will do.
        Err(StoreError::Compacted { .. }) if list.at.is_none() => shared.state.read().list(list),
        Err(error) => Err(error),
    }
}

impl Piece {
    fn new(records: Vec<Arc<Record>>, revision: Revision, size: usize) -> Self {
        let end = records.last().map(|record| Arc::clone(&record.key));
        Self {
            end: end.filter(|_| records.len() == size),
            records,
            revision,
        }
    }
}

/// What happened under a prefix after one revision and up to another, at least.
async fn events_between(
    shared: &Shared,
    prefix: &str,
    after: Revision,
    to: Revision,
) -> Result<Vec<Event>, StoreError> {
    let (mut events, mut reached) = (Vec::new(), after);
    while reached < to {
        let (some, next) = shared.events_after(prefix, reached, EVENTS)?;
        events.extend(some);
        if next == reached {
            break;
        }
        reached = next;
        tokio::task::yield_now().await;
    }
    Ok(events)
}

/// The records of all pieces with the events undone that each had seen.
fn undone(pieces: Vec<Piece>, events: &[Event], list: &List) -> Vec<Arc<Record>> {
    let ranges: Vec<(Option<Arc<str>>, Revision)> = pieces
        .iter()
        .map(|piece| (piece.end.clone(), piece.revision))
        .collect();
    let seen_at = |key: &str| {
        let range = ranges.partition_point(|(end, _)| end.as_deref().is_some_and(|end| end < key));
        ranges
            .get(range)
            .map_or(Revision(0), |(_, revision)| *revision)
    };
    let mut then: BTreeMap<Arc<str>, Arc<Record>> = pieces
        .into_iter()
        .flat_map(|piece| piece.records)
        .map(|record| (Arc::clone(&record.key), record))
        .collect();
    for event in events.iter().rev() {
        let key = event.key();
        let asked = list.after.as_deref().is_none_or(|after| key > after);
        if !asked || event.revision > seen_at(key) {
            continue;
        }
        match &event.previous {
            Some(record) => then.insert(Arc::clone(&record.key), Arc::clone(record)),
            None => then.remove(key),
        };
    }
    then.into_values().collect()
}

fn page(mut records: impl Iterator<Item = Arc<Record>>, list: &List, revision: Revision) -> Page {
    let limit = list.limit.unwrap_or(usize::MAX);
    Page {
        records: records.by_ref().take(limit).collect(),
        revision,
        remaining: records.count() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Expect, Op, SledOptions, SledStorage, Storage, embedded::test_folder};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn pieces_read_among_writes_are_one_revision() {
        let folder = test_folder();
        let store = Arc::new(SledStorage::open(folder.path(), &SledOptions::default()).unwrap());
        let writer = Arc::clone(&store);
        let writing = tokio::spawn(async move {
            for number in 0..3000_u64 {
                let key = format!("/p/{}", number * 7919 % 23);
                let change = match number % 3 {
                    0 => Change::Delete,
                    _ => Change::Put(number.to_string().into()),
                };
                let op = Op {
                    expect: Expect::Any,
                    change,
                    ..Op::create(key, "")
                };
                writer.commit(vec![op]).await.unwrap();
            }
        });
        let (mut lists, mut revisions) = (0, Vec::new());
        while !writing.is_finished() || lists < 50 {
            let asked = List {
                prefix: "/p/".into(),
                limit: (lists % 3 == 0).then_some(5),
                after: (lists % 4 == 0).then(|| "/p/14".to_owned()),
                at: None,
            };
            let found = list(&store.shared, &asked, 2).await.unwrap();
            let at = Some(found.revision);
            let expected = store
                .shared
                .state
                .read()
                .list(&List { at, ..asked })
                .unwrap();
            assert_eq!(found.records, expected.records);
            assert_eq!(found.remaining, expected.remaining);
            revisions.push(found.revision);
            lists += 1;
        }
        writing.await.unwrap();
        assert!(revisions.is_sorted());
        assert!(
            revisions.first() < revisions.last(),
            "nothing was written meanwhile"
        );
    }
}
