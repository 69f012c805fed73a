//! The store's state as a pure machine: current records, history, revision. Deciding a transaction ([`State::plan`]) and making it so
//! ([`State::apply`]) are apart, because an implementation makes it durable in between. No I/O, no locks.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use crate::{
    error::StoreError,
    history::{History, HistoryLimits},
    record::Record,
    revision::Revision,
    storage::{List, Page},
    txn::{Change, Expect, Op},
    watch::Event,
};

/// The largest value, 1.5 MiB as in etcd: objects over it do not belong in an API server.
pub const VALUE_LIMIT: usize = 3 << 19;
/// The largest sum of keys and values in one transaction.
pub const TXN_LIMIT: usize = 8 << 20;
/// What an operation counts for beside its key and value, so that many small ones are bounded as well.
const OP_OVERHEAD: usize = 64;

/// Everything a store knows.
#[derive(Debug)]
pub struct State {
    latest: BTreeMap<Arc<str>, Arc<Record>>,
    history: History,
    revision: Revision,
}

impl State {
    /// A state at `revision` holding `records`, with no history before it.
    #[must_use]
    pub fn new(
        records: impl IntoIterator<Item = Record>,
        revision: Revision,
        limits: HistoryLimits,
    ) -> Self {
        let latest = records
            .into_iter()
            .map(|record| (Arc::clone(&record.key), Arc::new(record)))
            .collect();
        Self {
            latest,
            history: History::new(limits, revision),
            revision,
        }
    }

    /// The revision of the last applied transaction.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can still be read or watched from.
    #[must_use]
    pub fn floor(&self) -> Revision {
        self.history.floor()
    }

    /// The record of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.latest.get(key)
    }

    /// All current records in key order.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.latest.values()
    }

    /// What `ops` would change if they were applied at `revision` on this state overlaid with `pending` (decided but not yet applied
    /// transactions, newest value per key; `None` is deleted). Empty when nothing changes.
    ///
    /// # Errors
    /// `Conflict`, `TooLarge`, `Invalid`; the first in the order of `ops`.
    pub fn plan(
        &self,
        pending: &BTreeMap<Arc<str>, Option<Arc<Record>>>,
        ops: &[Op],
        revision: Revision,
    ) -> Result<Vec<Event>, StoreError> {
        check_shape(ops)?;
        let mut events = Vec::with_capacity(ops.len());
        for op in ops {
            let found = match pending.get(op.key.as_str()) {
                Some(overlaid) => overlaid.as_ref(),
                None => self.latest.get(op.key.as_str()),
            };
            let holds = match op.expect {
                Expect::Absent => found.is_none(),
                Expect::At(seen) => found.is_some_and(|record| record.modified == seen),
                Expect::Exists => found.is_some(),
                Expect::Any => true,
            };
            if !holds {
                return Err(StoreError::Conflict {
                    key: op.key.clone(),
                    found: found.cloned(),
                });
            }
            let current = match &op.change {
                Change::Keep => continue,
                Change::Delete if found.is_none() => continue,
                Change::Delete => None,
                Change::Put(value) => Some(Arc::new(Record {
                    key: found.map_or_else(
                        || Arc::from(op.key.as_str()),
                        |record| Arc::clone(&record.key),
                    ),
                    value: value.clone(),
                    created: found.map_or(revision, |record| record.created),
                    modified: revision,
                })),
            };
            events.push(Event {
                revision,
                current,
                previous: found.cloned(),
            });
        }
        Ok(events)
    }

    /// Makes one planned transaction so. `events` are what [`State::plan`] said, at one revision above all before.
    pub fn apply(&mut self, events: &[Event]) {
        for event in events {
            match (&event.current, &event.previous) {
                (Some(record), _) => {
                    self.latest
                        .insert(Arc::clone(&record.key), Arc::clone(record));
                }
                (None, Some(record)) => {
                    self.latest.remove(&record.key);
                }
                (None, None) => {}
            }
            self.revision = self.revision.max(event.revision);
        }
        self.history.push(events);
    }

    /// Puts content in place that no event tells of, and goes on at `revision`. History begins anew there.
    pub fn overlay(
        &mut self,
        content: impl IntoIterator<Item = (Arc<str>, Option<Arc<Record>>)>,
        revision: Revision,
    ) {
        for (key, record) in content {
            match record {
                Some(record) => self.latest.insert(key, record),
                None => self.latest.remove(&key),
            };
        }
        self.revision = self.revision.max(revision);
        self.history.compact(self.revision);
    }

    /// Goes on at `revision`; what happened under `prefixes` up to there is not known.
    pub fn skip<'a>(
        &mut self,
        prefixes: impl IntoIterator<Item = &'a Arc<str>>,
        revision: Revision,
    ) {
        self.revision = self.revision.max(revision);
        for prefix in prefixes {
            self.lose(prefix, revision);
        }
    }

    /// Marks that what happened under `prefix` up to `revision` is not known.
    pub fn lose(&mut self, prefix: &Arc<str>, revision: Revision) {
        if revision > self.floor() {
            self.history.lose(prefix, revision);
        }
    }

    /// What is known of the past.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Forgets history up to `to`.
    pub fn compact(&mut self, to: Revision) {
        self.history.compact(to.min(self.revision));
    }

    /// Whether a watch of `prefix` can begin after `after`.
    ///
    /// # Errors
    /// `Compacted`, `Future`.
    pub fn check_watch(&self, prefix: &str, after: Revision) -> Result<(), StoreError> {
        if after > self.revision {
            return Err(StoreError::Future {
                current: self.revision,
            });
        }
        let oldest = self.history.floor_of(prefix);
        if after < oldest {
            return Err(StoreError::Compacted { oldest });
        }
        Ok(())
    }

    /// A page of the records under a prefix at a revision.
    ///
    /// # Errors
    /// `Compacted`, `Future`.
    pub fn list(&self, list: &List) -> Result<Page, StoreError> {
        let at = list.at.unwrap_or(self.revision);
        if at > self.revision {
            return Err(StoreError::Future {
                current: self.revision,
            });
        }
        if at == self.revision {
            return Ok(page(
                self.range(&list.prefix, list.after.as_deref()),
                list,
                at,
            ));
        }
        let mut then: BTreeMap<&str, &Arc<Record>> = self
            .range(&list.prefix, None)
            .map(|record| (&*record.key, record))
            .collect();
        for event in self.history.after(at, &list.prefix)?.rev() {
            match &event.previous {
                Some(record) => then.insert(&record.key, record),
                None => then.remove(event.key()),
            };
        }
        Ok(page(then.into_values(), list, at))
    }

    /// The first `most` records under `prefix`, from after the key `after` on.
    #[must_use]
    pub fn some_after(&self, prefix: &str, after: Option<&str>, most: usize) -> Vec<Arc<Record>> {
        self.range(prefix, after).take(most).cloned().collect()
    }

    /// The records under `prefix`, from after the key `after` on.
    fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Record>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.latest
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, record)| record)
            .take_while(move |record| record.key.starts_with(prefix))
    }

    /// The events after `after` under `prefix`, about `limit`, whole transactions, and how far they reach.
    ///
    /// # Errors
    /// `Compacted`.
    pub fn events_after(
        &self,
        prefix: &str,
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Event>, Revision), StoreError> {
        let mut events: Vec<Event> = Vec::new();
        for event in self.history.after(after, prefix)? {
            if events.len() >= limit
                && events
                    .last()
                    .is_some_and(|last| last.revision < event.revision)
            {
                let reached = events.last().map_or(after, |last| last.revision);
                return Ok((events, reached));
            }
            events.push(event.clone());
        }
        Ok((events, self.revision.max(after)))
    }
}

/// Cuts a page out of ordered records.
fn page<'a>(
    records: impl Iterator<Item = &'a Arc<Record>>,
    list: &List,
    revision: Revision,
) -> Page {
    let limit = list.limit.unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut remaining = 0;
    for record in records.skip_while(|record| {
        list.after
            .as_deref()
            .is_some_and(|after| &*record.key <= after)
    }) {
        if found.len() < limit {
            found.push(Arc::clone(record));
        } else {
            remaining += 1;
        }
    }
    Page {
        records: found,
        revision,
        remaining,
    }
}

/// Refuses what no implementation could do.
pub(crate) fn check_shape(ops: &[Op]) -> Result<(), StoreError> {
    let mut keys = BTreeSet::new();
    let mut total = 0_usize;
    for op in ops {
        if op.key.is_empty() {
            return Err(StoreError::Invalid {
                reason: "an empty key".to_owned(),
            });
        }
        if !keys.insert(op.key.as_str()) {
            return Err(StoreError::Invalid {
                reason: format!("key {} twice in one transaction", op.key),
            });
        }
        total += OP_OVERHEAD + op.key.len();
        if let Change::Put(value) = &op.change {
            if value.len() > VALUE_LIMIT {
                return Err(StoreError::TooLarge {
                    size: value.len(),
                    limit: VALUE_LIMIT,
                });
            }
            total += value.len();
        }
    }
    if total > TXN_LIMIT {
        return Err(StoreError::TooLarge {
            size: total,
            limit: TXN_LIMIT,
        });
    }
    Ok(())
}
