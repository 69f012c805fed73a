//! What the clients of the tests do, and what must be there of it. Each client counts its steps in a key of its own and changes other keys in the
//! same transaction, as a function of the step: whoever knows the count knows everything the client's keys must hold.

use std::collections::BTreeMap;

use coracle_store::{
    Change, Durability, Expect, List, Op, Revision, SledOptions, SledStorage, Storage, StoreError,
    history::HistoryLimits,
};

use crate::chance::Chance;

/// How many clients there are.
pub(crate) const CLIENTS: usize = 6;

/// Everything small, so that segments fill, leave history and are checkpointed all the time.
pub(crate) fn options() -> SledOptions {
    SledOptions {
        segment_bytes: 24 << 10,
        history: HistoryLimits {
            events: 250,
            bytes: 400 << 10,
        },
        ..SledOptions::default()
    }
}

/// What a client puts at a step.
fn value(client: usize, step: u64) -> Vec<u8> {
    let mut chance = Chance::seeded(step << 8 | client as u64);
    let length = match step % 61 {
        // Longer than one piece in the tree.
        60 => 150_000 + chance.below(120_000),
        40..=43 => 5_000 + chance.below(20_000),
        _ => chance.below(900),
    };
    let mut value = format!("{client} {step} ").into_bytes();
    // Bytes that look like the log's own.
    value.extend_from_slice(b"cfr2\x01\x00\x00\x00");
    let block: Vec<u8> = (0..16)
        .flat_map(|_| chance.number().to_le_bytes())
        .collect();
    while (value.len() as u64) < length {
        value.extend_from_slice(&block);
    }
    value
}

/// The slots a step changes, and whether it deletes the first.
fn slots(step: u64) -> ([u64; 2], bool) {
    ([step % 5, 5 + step % 3], step.is_multiple_of(11))
}

fn key(client: usize, slot: impl std::fmt::Display) -> String {
    format!("/c/{client}/{slot}")
}

/// The transaction of a step.
pub(crate) fn step(client: usize, step: u64, counted: Option<Revision>) -> Vec<Op> {
    let ([first, second], deletes) = slots(step);
    let change = |slot, change| Op {
        key: key(client, slot),
        expect: Expect::Any,
        change,
        durability: Durability::Durable,
    };
    let put = || Change::Put(value(client, step).into());
    let count = Op {
        key: key(client, "count"),
        expect: counted.map_or(Expect::Absent, Expect::At),
        change: Change::Put(step.to_string().into()),
        durability: Durability::Durable,
    };
    vec![
        count,
        change(first, if deletes { Change::Delete } else { put() }),
        change(second, put()),
    ]
}

/// Everything a client's keys hold after `steps`.
fn content(client: usize, steps: u64) -> BTreeMap<String, Vec<u8>> {
    let mut content = BTreeMap::new();
    if steps > 0 {
        content.insert(key(client, "count"), steps.to_string().into_bytes());
    }
    // No slot is older than the steps it takes to come round, with the deletions. What each holds is made only once it is known.
    let mut holds = BTreeMap::new();
    for step in steps.saturating_sub(60).max(1)..=steps {
        let ([first, second], deletes) = slots(step);
        holds.insert(first, (!deletes).then_some(step));
        holds.insert(second, Some(step));
    }
    for (slot, step) in holds {
        if let Some(step) = step {
            content.insert(key(client, slot), value(client, step));
        }
    }
    content
}

/// A client's count and when it last changed.
pub(crate) async fn counted(
    store: &SledStorage,
    client: usize,
) -> Result<(u64, Option<Revision>), StoreError> {
    let record = store.get(&key(client, "count")).await?;
    Ok(record.map_or((0, None), |record| {
        let count = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
        (count, Some(record.modified))
    }))
}

/// What clients were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The last acknowledged step of each.
    pub(crate) steps: [u64; CLIENTS],
    /// The highest revision anybody saw.
    pub(crate) revision: u64,
}

impl Told {
    /// Takes in a line of a child.
    pub(crate) fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["ack", client, step, revision] => {
                let client: usize = client.parse().unwrap();
                self.steps[client] = step.parse().unwrap();
                self.revision = self.revision.max(revision.parse().unwrap());
            }
            ["seen", revision] => self.revision = self.revision.max(revision.parse().unwrap()),
            ["found", revision, steps @ ..] => {
                let revision: u64 = revision.parse().unwrap();
                let steps = steps.iter().map(|step| step.parse().unwrap());
                let found: [u64; CLIENTS] = steps.collect::<Vec<u64>>().try_into().unwrap();
                self.check(revision, &found);
                self.steps = found;
                self.revision = revision;
            }
            _ => {}
        }
    }

    /// Fails when less is found than was told, or more than can have been begun.
    pub(crate) fn check(&self, revision: u64, found: &[u64; CLIENTS]) {
        assert!(
            revision >= self.revision,
            "the revision fell from {} to {revision}",
            self.revision
        );
        for (client, (&told, &there)) in self.steps.iter().zip(found).enumerate() {
            assert!(
                (told..=told + 1).contains(&there),
                "client {client}: {told} was acknowledged, {there} is there"
            );
        }
    }
}

/// Checks that every client's keys hold what belongs to its count, and that history leads to the present. Gives the counts.
pub(crate) async fn inspect(store: &SledStorage) -> [u64; CLIENTS] {
    let mut counts = [0; CLIENTS];
    for (client, count) in counts.iter_mut().enumerate() {
        *count = counted(store, client).await.unwrap().0;
        let page = store
            .list(List {
                prefix: key(client, ""),
                ..List::default()
            })
            .await
            .unwrap();
        let found: BTreeMap<String, Vec<u8>> = page
            .records
            .iter()
            .map(|record| (record.key.to_string(), record.value.to_vec()))
            .collect();
        let expected = content(client, *count);
        assert!(
            found == expected,
            "client {client} at {count}: keys {:?}, expected {:?}, or their values differ",
            found.keys(),
            expected.keys()
        );
    }
    let oldest = match store.watch("/c/", Revision(0)).await {
        Err(StoreError::Compacted { oldest }) => oldest,
        Ok(_) => Revision(0),
        Err(other) => panic!("{other}"),
    };
    let list = |at| List {
        prefix: "/c/".into(),
        at,
        ..List::default()
    };
    let then = store.list(list(Some(oldest))).await.unwrap();
    let mut state: BTreeMap<_, _> = then
        .records
        .into_iter()
        .map(|record| (record.key.to_string(), record))
        .collect();
    let mut watch = store.watch("/c/", oldest).await.unwrap();
    while let Some(events) = watch.try_next().unwrap() {
        for event in events {
            let before = match &event.current {
                Some(record) => state.insert(event.key().to_owned(), record.clone()),
                None => state.remove(event.key()),
            };
            assert_eq!(before, event.previous, "history at {}", event.revision);
        }
    }
    let now = store.list(list(None)).await.unwrap().records;
    assert!(
        state.into_values().eq(now),
        "history from {oldest} on does not lead to the present"
    );
    counts
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Opens the store in `folder` and checks all of it against what was told.
pub(crate) fn verify(folder: &std::path::Path, told: &Told) {
    let store = SledStorage::open(folder, &options())
        .unwrap_or_else(|error| panic!("the store does not open: {error}"));
    let counts = block_on(inspect(&store));
    told.check(store.revision().0, &counts);
}
