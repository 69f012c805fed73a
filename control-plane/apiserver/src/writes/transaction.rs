//! Puts a write into one transaction: the object, what it claims for itself, and the conditions under which it was admitted. Says afterwards
//! what a conflict was about.

use std::{collections::BTreeSet, sync::Arc};

use coracle_api::{
    registry::{Durability, Resource, Storage},
    status::ApiError,
};
use coracle_store::{Change, Expect, Op, Record, Revision, StoreError};
use serde_json::Value;

use crate::{
    encoded::{self, Stored},
    error, keys, meta,
    server::Shared,
};

/// What is to become of an object.
pub struct Transaction<'a> {
    /// The kind.
    pub resource: &'a Resource,
    /// The object's key.
    pub key: &'a str,
    /// What is stored now, as it was read.
    pub old: Option<(&'a Stored, &'a Value)>,
    /// What is to be stored; `None` deletes.
    pub new: Option<&'a Value>,
    /// Conditions on other keys.
    pub guards: Vec<Op>,
}

/// Why a transaction did not happen.
#[derive(Debug)]
pub enum Refused {
    /// The object itself is not as it was read (or exists already).
    Object,
    /// A guard does not hold any more, or a claim is taken. Read again, admit again.
    Surroundings,
    /// Anything else, final.
    Failed(ApiError),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl Transaction<'_> {
    /// Commits. Gives what is stored then; for a deletion the last state at the revision of the deletion.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has happened.
    pub async fn commit(self, server: &Shared) -> Result<Stored, Refused> {
        let value = self.new.map(encoded::encode).transpose()?;
        let mut ops = self.guards;
        ops.push(Op {
            key: self.key.to_owned(),
            expect: match self.old {
                Some((old, _)) => Expect::At(old.record().modified),
                None => Expect::Absent,
            },
            change: value.clone().map_or(Change::Delete, Change::Put),
            durability: coracle_store::Durability::Durable,
        });
        ops.extend(claim_ops(
            self.resource,
            self.old.map(|(_, old)| old),
            self.new,
        ));
        if self.resource.storage == Storage::Stored(Durability::Volatile) {
            ops = ops.into_iter().map(Op::volatile).collect();
        }
        let revision = match server.store.commit(ops).await {
            Ok(revision) => revision,
            Err(StoreError::Conflict { key, .. }) if key == self.key => {
                return Err(Refused::Object);
            }
            Err(StoreError::Conflict { .. }) => return Err(Refused::Surroundings),
            Err(error) => return Err(Refused::Failed(error::from_store(error))),
        };
        let stored = match (value, self.old) {
            (Some(value), old) => Stored::open(Arc::new(Record {
                key: Arc::from(self.key),
                value,
                created: old.map_or(revision, |(old, _)| old.record().created),
                modified: revision,
            })),
            (None, Some((old, _))) => Stored::open_at(Arc::clone(old.record()), revision),
            (None, None) => Err(ApiError::internal("deleting what was never read")),
        };
        Ok(stored?)
    }
}

/// What the answer to a dry run shows: the object as it would be, at the revision that is stored (none for one that is not).
///
/// # Errors
/// `Internal` when it cannot be encoded.
pub fn unstored(key: &str, new: &Value) -> Result<Stored, ApiError> {
    let revision = meta::resource_version(new)
        .and_then(|version| version.parse().ok())
        .map_or(Revision(0), Revision);
    Stored::open(Arc::new(Record {
        key: Arc::from(key),
        value: encoded::encode(new)?,
        created: revision,
        modified: revision,
    }))
}

/// Takes the claims that are new and releases those that are gone. A claim that another object holds is a conflict.
fn claim_ops(resource: &Resource, old: Option<&Value>, new: Option<&Value>) -> Vec<Op> {
    let of = |object: Option<&Value>| -> BTreeSet<String> {
        object
            .map(|object| (resource.claims)(object).into_iter().collect())
            .unwrap_or_default()
    };
    let (before, after) = (of(old), of(new));
    let holder = new.map(holder).unwrap_or_default();
    let taken = after
        .difference(&before)
        .map(|claim| Op::create(keys::claim(claim), holder.clone()));
    let released = before.difference(&after).map(|claim| Op {
        key: keys::claim(claim),
        expect: Expect::Any,
        change: Change::Delete,
        durability: coracle_store::Durability::Durable,
    });
    taken.chain(released).collect()
}

/// What a claim says about who holds it: for people and checks that look for leaks.
fn holder(object: &Value) -> String {
    let kind = meta::text_at(object, &["kind"]).unwrap_or_default();
    let namespace = meta::namespace(object).unwrap_or_default();
    let name = meta::name(object).unwrap_or_default();
    let uid = meta::uid(object).unwrap_or_default();
    format!("{kind} {namespace}/{name} {uid}")
}
