//! A transaction in etcd's words: conditions, what to do when they hold, and what to look at when they do not. Pure.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tonic::{Code, Status};

use super::{
    Keys, client, revision,
    wire::{
        Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Request, RequestOp,
        TxnRequest, TxnResponse,
    },
};
use crate::{
    error::StoreError,
    record::Record,
    revision::Revision,
    state::State,
    txn::{Change, Expect, Op},
};

/// etcd's default bound on what one transaction does, less the head.
const OPS: usize = 127;

/// A transaction on its way.
pub(super) struct Attempt {
    ops: Vec<Op>,
    /// Tells this transaction from all others: what it puts into the head.
    id: Vec<u8>,
}

/// What is sent, and what it took for granted.
pub(super) struct Sent {
    pub(super) message: TxnRequest,
    changes: bool,
}

/// What became of it.
pub(super) enum Outcome {
    /// Done, at this revision; `None` when there was nothing to change.
    Done(Option<Revision>),
    /// What the caller expects does not hold.
    Refused(StoreError),
    /// What was taken for granted does not hold: look again.
    Changed,
}

impl Attempt {
    pub(super) fn new(ops: Vec<Op>) -> Result<Self, StoreError> {
        if ops.len() > OPS {
            return Err(StoreError::Invalid {
                reason: format!(
                    "{} operations in one transaction, etcd takes {OPS}",
                    ops.len()
                ),
            });
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = [crate::chance::unguessable(), number].map(u64::to_le_bytes);
        Ok(Self {
            ops,
            id: id.concat(),
        })
    }

    /// What the head holds once this is done.
    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    /// The request, given what is known of the keys. Whether a deletion changes anything must be known beforehand, since the head's revision must not
    /// move for nothing; the condition that it is still so goes along.
    pub(super) fn request(&self, keys: &Keys, known: &State) -> Sent {
        let mut compare = Vec::new();
        let mut success: Vec<RequestOp> = Vec::new();
        for op in &self.ops {
            let key = || format!("{}{}", keys.data, op.key).into_bytes();
            match op.expect {
                Expect::Absent => compare.push(absent(key())),
                Expect::Exists => compare.push(present(key())),
                Expect::At(seen) => compare.push(at(key(), seen)),
                Expect::Any => {}
            }
            match &op.change {
                Change::Keep => {}
                Change::Put(value) => success.push(
                    Request::Put(PutRequest {
                        key: key(),
                        value: value.clone(),
                    })
                    .into(),
                ),
                Change::Delete => match (op.expect, known.get(&op.key)) {
                    (Expect::Absent, _) => {}
                    (Expect::Any, None) => compare.push(absent(key())),
                    (expect, _) => {
                        if expect == Expect::Any {
                            compare.push(present(key()));
                        }
                        success
                            .push(Request::DeleteRange(DeleteRangeRequest { key: key() }).into());
                    }
                },
            }
        }
        let changes = !success.is_empty();
        if changes {
            success.push(
                Request::Put(PutRequest {
                    key: keys.head.clone().into_bytes(),
                    value: self.id.clone().into(),
                })
                .into(),
            );
        }
        let failure = self.ops.iter().map(|op| {
            RequestOp::from(Request::Range(RangeRequest {
                key: format!("{}{}", keys.data, op.key).into_bytes(),
                ..RangeRequest::default()
            }))
        });
        let message = TxnRequest {
            compare,
            success,
            failure: failure.collect(),
        };
        Sent { message, changes }
    }

    /// What etcd's answer means.
    pub(super) fn outcome(
        &self,
        sent: &Sent,
        answer: TxnResponse,
        keys: &Keys,
    ) -> Result<Outcome, StoreError> {
        if answer.succeeded {
            let at = answer.header.map_or(0, |header| header.revision);
            return Ok(Outcome::Done(sent.changes.then(|| revision(at))));
        }
        for (op, seen) in self.ops.iter().zip(&answer.responses) {
            let found = seen.range.as_ref().and_then(|range| range.kvs.first());
            let found = found.map(|kv| record(kv, keys)).transpose()?.map(Arc::new);
            let holds = match op.expect {
                Expect::Absent => found.is_none(),
                Expect::Exists => found.is_some(),
                Expect::At(seen) => found.as_ref().is_some_and(|found| found.modified == seen),
                Expect::Any => true,
            };
            if !holds {
                return Ok(Outcome::Refused(StoreError::Conflict {
                    key: op.key.clone(),
                    found,
                }));
            }
        }
        Ok(Outcome::Changed)
    }
}

fn absent(key: Vec<u8>) -> Compare {
    Compare {
        result: 0,
        target: 1,
        key,
        create_revision: Some(0),
        mod_revision: None,
    }
}

fn present(key: Vec<u8>) -> Compare {
    Compare {
        result: 1,
        ..absent(key)
    }
}

fn at(key: Vec<u8>, seen: Revision) -> Compare {
    Compare {
        result: 0,
        target: 2,
        key,
        create_revision: None,
        mod_revision: Some(super::number(seen)),
    }
}

/// A record as etcd holds it.
pub(super) fn record(kv: &KeyValue, keys: &Keys) -> Result<Record, StoreError> {
    let key = std::str::from_utf8(&kv.key).ok();
    let key = key.and_then(|key| key.strip_prefix(&keys.data));
    let key = key.ok_or_else(|| StoreError::Corrupt {
        reason: format!("etcd: {:?} is no key of this store", kv.key),
    })?;
    Ok(Record {
        key: Arc::from(key),
        value: kv.value.clone(),
        created: revision(kv.create_revision),
        modified: revision(kv.mod_revision),
    })
}

/// What a refused transaction means.
pub(super) fn refused(status: &Status) -> StoreError {
    match status.code() {
        Code::InvalidArgument => StoreError::Invalid {
            reason: format!("etcd: {}", status.message()),
        },
        _ => client::unavailable(status),
    }
}
