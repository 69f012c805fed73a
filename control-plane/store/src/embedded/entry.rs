//! What the log says: entries, several to a frame. Pure encoding; what makes a frame tell-tale of damage is [`super::frame`]'s business.

use std::sync::Arc;

use bytes::Bytes;

use super::layout::{Reader, put_text, put_u32, put_u64};
use crate::{record::Record, revision::Revision, watch::Event};

/// One key's new content as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) key: Arc<str>,
    /// `None`: the key was deleted.
    pub(crate) record: Option<Arc<Record>>,
}

/// What must be known of everything before a segment, so that older segments can go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promises {
    /// Volatile changes may have taken revisions up to here.
    pub(crate) reserved: Revision,
    /// History up to here was forgotten on purpose.
    pub(crate) compacted: Revision,
    /// The prefixes that volatile changes happen under, each with the revision up to which such changes were lost.
    pub(crate) volatile: Vec<(Arc<str>, Revision)>,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A transaction.
    Txn { revision: Revision, puts: Vec<Put> },
    /// Revisions up to this one may have been given to volatile changes, which the log does not hold.
    Reserve { up_to: Revision },
    /// History up to this revision was forgotten on purpose.
    Compact { to: Revision },
    /// The store was closed in order at `revision`; `kept` is the checksum of the file that holds the volatile changes of the time.
    Close { revision: Revision, kept: u64 },
    /// The first entry of each segment.
    Begin(Promises),
    /// From here on volatile changes happen under this prefix.
    Volatile { prefix: Arc<str> },
    /// A crash lost the volatile changes up to this revision.
    Lost { up_to: Revision },
    /// Everything before was acknowledged. Written without a sync once nothing more is waiting: what it follows can't be a torn end any more.
    Acknowledged,
    /// The log goes on in the next segment.
    Onward,
}

impl Entry {
    /// The transaction that `events` are.
    pub(crate) fn txn(revision: Revision, events: &[Event]) -> Self {
        let puts = events
            .iter()
            .map(|event| Put {
                key: event.shared_key(),
                record: event.current.clone(),
            })
            .collect();
        Self::Txn { revision, puts }
    }

    /// Appends the entry to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Txn { revision, puts } => {
                out.push(1);
                put_u64(out, revision.0);
                put_u32(out, puts.len());
                for put in puts {
                    encode_put(put, out);
                }
            }
            Self::Reserve { up_to } => {
                out.push(2);
                put_u64(out, up_to.0);
            }
            Self::Compact { to } => {
                out.push(3);
                put_u64(out, to.0);
            }
            Self::Close { revision, kept } => {
                out.push(4);
                put_u64(out, revision.0);
                put_u64(out, *kept);
            }
            Self::Begin(promises) => {
                out.push(5);
                put_u64(out, promises.reserved.0);
                put_u64(out, promises.compacted.0);
                put_u32(out, promises.volatile.len());
                for (prefix, lost) in &promises.volatile {
                    put_text(out, prefix);
                    put_u64(out, lost.0);
                }
            }
            Self::Volatile { prefix } => {
                out.push(6);
                put_text(out, prefix);
            }
            Self::Lost { up_to } => {
                out.push(7);
                put_u64(out, up_to.0);
            }
            Self::Acknowledged => out.push(8),
            Self::Onward => out.push(9),
        }
    }

    /// Reads all entries of a frame. `None`: this is not what [`Entry::encode`] writes.
    pub(crate) fn decode_all(payload: &[u8]) -> Option<Vec<Self>> {
        let mut reader = Reader(payload);
        let mut entries = Vec::new();
        while !reader.0.is_empty() {
            entries.push(Self::decode(&mut reader)?);
        }
        Some(entries)
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            1 => {
                let revision = Revision(reader.u64()?);
                let count = reader.u32()?;
                let puts = (0..count)
                    .map(|_| decode_put(reader))
                    .collect::<Option<Vec<_>>>()?;
                Self::Txn { revision, puts }
            }
            2 => Self::Reserve {
                up_to: Revision(reader.u64()?),
            },
            3 => Self::Compact {
                to: Revision(reader.u64()?),
            },
            4 => Self::Close {
                revision: Revision(reader.u64()?),
                kept: reader.u64()?,
            },
            5 => {
                let (reserved, compacted) = (Revision(reader.u64()?), Revision(reader.u64()?));
                let count = reader.u32()?;
                let volatile = (0..count)
                    .map(|_| Some((reader.text()?, Revision(reader.u64()?))))
                    .collect::<Option<Vec<_>>>()?;
                Self::Begin(Promises {
                    reserved,
                    compacted,
                    volatile,
                })
            }
            6 => Self::Volatile {
                prefix: reader.text()?,
            },
            7 => Self::Lost {
                up_to: Revision(reader.u64()?),
            },
            8 => Self::Acknowledged,
            9 => Self::Onward,
            _ => return None,
        })
    }
}

/// Appends one key's content to `out`.
pub(crate) fn encode_put(put: &Put, out: &mut Vec<u8>) {
    out.push(u8::from(put.record.is_some()));
    put_text(out, &put.key);
    if let Some(record) = &put.record {
        put_u64(out, record.created.0);
        put_u64(out, record.modified.0);
        put_u32(out, record.value.len());
        out.extend_from_slice(&record.value);
    }
}

/// Reads what [`encode_put`] wrote.
pub(crate) fn decode_put(reader: &mut Reader<'_>) -> Option<Put> {
    let present = reader.u8()? == 1;
    let key = reader.text()?;
    if !present {
        return Some(Put { key, record: None });
    }
    let (created, modified) = (Revision(reader.u64()?), Revision(reader.u64()?));
    let length = reader.u32()?;
    let value = Bytes::copy_from_slice(reader.take(length)?);
    let record = Record {
        key: Arc::clone(&key),
        value,
        created,
        modified,
    };
    Some(Put {
        key,
        record: Some(Arc::new(record)),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn puts() -> impl Strategy<Value = Put> {
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..64));
        ("[a-z/]{1,12}", value, any::<u64>()).prop_map(|(key, value, revision)| {
            let key: Arc<str> = key.into();
            let record = value.map(|value| {
                Arc::new(Record {
                    key: Arc::clone(&key),
                    value: value.into(),
                    created: Revision(revision / 2),
                    modified: Revision(revision),
                })
            });
            Put { key, record }
        })
    }

    /// Any entry.
    pub(in super::super) fn entries() -> impl Strategy<Value = Entry> {
        let revision = || any::<u64>().prop_map(Revision);
        let volatile =
            proptest::collection::vec(("[a-z/]{0,9}".prop_map(Arc::from), revision()), 0..3);
        prop_oneof![
            (revision(), proptest::collection::vec(puts(), 0..4))
                .prop_map(|(revision, puts)| Entry::Txn { revision, puts }),
            revision().prop_map(|up_to| Entry::Reserve { up_to }),
            revision().prop_map(|to| Entry::Compact { to }),
            (revision(), any::<u64>()).prop_map(|(revision, kept)| Entry::Close { revision, kept }),
            (revision(), revision(), volatile).prop_map(|(reserved, compacted, volatile)| {
                Entry::Begin(Promises {
                    reserved,
                    compacted,
                    volatile,
                })
            }),
            "[a-z/]{0,9}".prop_map(|prefix| Entry::Volatile {
                prefix: prefix.into()
            }),
            revision().prop_map(|up_to| Entry::Lost { up_to }),
            Just(Entry::Acknowledged),
            Just(Entry::Onward),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(entries in proptest::collection::vec(entries(), 0..5)) {
            let mut bytes = Vec::new();
            for entry in &entries {
                entry.encode(&mut bytes);
            }
            prop_assert_eq!(Entry::decode_all(&bytes), Some(entries));
        }
    }
}
