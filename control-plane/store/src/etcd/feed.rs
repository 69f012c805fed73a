//! Keeps memory up to date: reads everything once, then follows etcd's watch, whichever member it comes from. One task.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tonic::{Code, Streaming};

use super::{
    Keys, Shared,
    client::{Client, unavailable},
    number, revision,
    transaction::record,
    wire::{
        Compare, PutRequest, RangeRequest, RangeResponse, Request, TxnRequest, TxnResponse,
        WatchCreateRequest, WatchEvent, WatchResponse, end_of,
    },
};
use crate::{
    error::StoreError, history::HistoryLimits, record::Record, revision::Revision, state::State,
    watch::Event,
};

/// Records in one answer while everything is read. Larger ones are quicker; this keeps answers to some tens of megabytes.
const PAGE: i64 = 5000;
/// How much of the past is read at the start, in revisions: what watches of other servers' clients may resume from here.
const WINDOW: i64 = 10_000;
/// Waits between attempts to watch: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How many transactions are remembered by their identity: those of seconds at full speed.
const RECENT: usize = 10_000;

/// The last transactions by what they put into the head.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<(Vec<u8>, Revision)>>);

impl Recent {
    fn push(&self, id: &[u8], at: Revision) {
        let mut recent = self.0.lock();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((id.to_vec(), at));
    }

    /// When this transaction happened, if it did not long ago.
    pub(super) fn find(&self, id: &[u8]) -> Option<Revision> {
        let recent = self.0.lock();
        recent
            .iter()
            .rev()
            .find(|(known, _)| known == id)
            .map(|(_, at)| *at)
    }
}

/// Reads the store as it was a while ago, as far as etcd knows; the watch tells the rest. Makes the store where there is none.
pub(super) async fn load(
    client: &Client,
    keys: &Keys,
    limits: HistoryLimits,
) -> Result<State, StoreError> {
    let (born, newest) = birth(client, keys).await?;
    let mut at = born.max(newest - WINDOW);
    loop {
        match read_at(client, keys, at).await {
            Ok(records) => return Ok(State::new(records, revision(at), limits)),
            Err(Some(error)) => return Err(error),
            // Compacted. The watch says up to where.
            Err(None) => {
                at = compacted(client, keys, at)
                    .await?
                    .unwrap_or(newest)
                    .max(at + 1)
            }
        }
    }
}

/// When the store was made, which may be now, and etcd's revision.
async fn birth(client: &Client, keys: &Keys) -> Result<(i64, i64), StoreError> {
    let born = keys.born.clone().into_bytes();
    let request = TxnRequest {
        compare: vec![Compare {
            result: 0,
            target: 1,
            key: born.clone(),
            create_revision: Some(0),
            mod_revision: None,
        }],
        success: vec![
            Request::Put(PutRequest {
                key: born.clone(),
                value: bytes::Bytes::from_static(b"coracle-store 1"),
            })
            .into(),
        ],
        failure: vec![
            Request::Range(RangeRequest {
                key: born,
                ..RangeRequest::default()
            })
            .into(),
        ],
    };
    let answer: TxnResponse = client
        .call("/etcdserverpb.KV/Txn", &request)
        .await
        .map_err(|status| unavailable(&status))?;
    let newest = answer.header.map_or(0, |header| header.revision);
    let range = answer.responses.first().and_then(|op| op.range.as_ref());
    let found = range.and_then(|range| range.kvs.first());
    if let Some(found) = found
        && found.value != b"coracle-store 1"[..]
    {
        return Err(StoreError::Unsupported {
            reason: format!(
                "etcd: the store under {} was made by another version of coracle",
                keys.root
            ),
        });
    }
    Ok((found.map_or(newest, |found| found.mod_revision), newest))
}

/// All records at a revision. `None` as error: it is compacted.
async fn read_at(client: &Client, keys: &Keys, at: i64) -> Result<Vec<Record>, Option<StoreError>> {
    let mut records = Vec::new();
    let mut start = keys.data.clone().into_bytes();
    loop {
        let request = RangeRequest {
            key: start,
            range_end: end_of(&keys.data),
            limit: PAGE,
            revision: at,
            keys_only: false,
        };
        let answer: Result<RangeResponse, _> =
            client.call("/etcdserverpb.KV/Range", &request).await;
        let answer = answer.map_err(|status| match status.code() {
            Code::OutOfRange => None,
            _ => Some(unavailable(&status)),
        })?;
        for kv in &answer.kvs {
            records.push(record(kv, keys).map_err(Some)?);
        }
        match answer.kvs.last() {
            Some(last) if answer.more => start = [&last.key[..], &[0]].concat(),
            _ => return Ok(records),
        }
    }
}

/// Up to where history is compacted, when that is after `at`.
async fn compacted(client: &Client, keys: &Keys, at: i64) -> Result<Option<i64>, StoreError> {
    let create = WatchCreateRequest {
        key: keys.born.clone().into_bytes(),
        range_end: Vec::new(),
        start_revision: at,
    };
    let (_, begun) = client.watch(create).await;
    let mut stream = begun.map_err(|status| unavailable(&status))?;
    // It says that it begins, and then that it cannot.
    for _ in 0..2 {
        let answer = stream
            .message()
            .await
            .map_err(|status| unavailable(&status))?;
        match answer {
            Some(answer) if answer.compact_revision > 0 => {
                return Ok(Some(answer.compact_revision));
            }
            Some(_) => {}
            None => break,
        }
    }
    Ok(None)
}

/// Follows until the store is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pause = PAUSES.0;
    loop {
        let from = shared.state.read().revision();
        let create = WatchCreateRequest {
            key: shared.keys.root.clone().into_bytes(),
            range_end: end_of(&shared.keys.root),
            start_revision: number(from.next()),
        };
        let (member, begun) = shared.client.watch(create).await;
        let ended = match begun {
            Ok(stream) => follow(&shared, stream, &mut pause).await,
            Err(status) => Ended::Broken(status.message().to_owned()),
        };
        match ended {
            Ended::Broken(why) => {
                tracing::warn!(why, "the watch on etcd ended: trying another member");
                shared.client.skip(member);
            }
            Ended::Compacted => {
                tracing::warn!("etcd has forgotten what was not read yet: reading everything anew");
                if let Err(error) = reload(&shared).await {
                    tracing::warn!(%error, "reading everything from etcd");
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Why a watch ended.
enum Ended {
    Broken(String),
    Compacted,
}

async fn follow(
    shared: &Shared,
    mut stream: Streaming<WatchResponse>,
    pause: &mut Duration,
) -> Ended {
    loop {
        let answer = match stream.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ended::Broken("the member closed it".to_owned()),
            Err(status) => return Ended::Broken(status.message().to_owned()),
        };
        if answer.compact_revision > 0 {
            return Ended::Compacted;
        }
        if answer.canceled {
            return Ended::Broken(answer.cancel_reason);
        }
        *pause = PAUSES.0;
        for events in answer.events.chunk_by(|one, next| at(one) == at(next)) {
            if let Err(error) = take(shared, events) {
                tracing::error!(%error, "an event of etcd is not what this store writes");
            }
        }
    }
}

fn at(event: &WatchEvent) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// Makes one transaction visible.
fn take(shared: &Shared, events: &[WatchEvent]) -> Result<(), StoreError> {
    let Some(first) = events.first() else {
        return Ok(());
    };
    let happened = revision(at(first));
    let mut state = shared.state.write();
    // A watch begun anew may tell what is known.
    if happened <= state.revision() {
        return Ok(());
    }
    let mut changes = Vec::with_capacity(events.len());
    for event in events {
        let Some(kv) = &event.kv else { continue };
        if kv.key == shared.keys.head.as_bytes() {
            shared.recent.push(&kv.value, happened);
        }
        if !kv.key.starts_with(shared.keys.data.as_bytes()) {
            continue;
        }
        let record = record(kv, &shared.keys)?;
        let previous = state.get(&record.key).cloned();
        let current = (event.kind == 0).then(|| {
            Arc::new(Record {
                key: previous
                    .as_ref()
                    .map_or(record.key, |old| Arc::clone(&old.key)),
                ..record
            })
        });
        changes.push(Event {
            revision: happened,
            current,
            previous,
        });
    }
    state.apply(&changes);
    state.skip([], happened);
    drop(state);
    shared.signals.announce(&changes);
    shared.reached.send_replace(happened);
    Ok(())
}

/// Begins anew with what is there now. Watches from before are told so.
async fn reload(shared: &Shared) -> Result<(), StoreError> {
    let mut fresh = load(&shared.client, &shared.keys, shared.history).await?;
    let revision = fresh.revision();
    let mut state = shared.state.write();
    if revision <= state.revision() {
        return Ok(());
    }
    fresh.compact(revision);
    *state = fresh;
    drop(state);
    shared.signals.wake_all(revision);
    shared.reached.send_replace(revision);
    Ok(())
}
