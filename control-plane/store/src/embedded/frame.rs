//! What a log segment is made of: frames, each with a marker, a length and a checksum, so that a torn end, a flipped bit and a good frame can be
//! told apart. Pure encoding; files are [`super::segment`]'s business.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use crate::{record::Record, revision::Revision, watch::Event};

/// Begins each frame. Lets a scan find the next frame behind a damaged one.
pub(super) const MARK: [u8; 4] = *b"cfr1";
/// Marker, payload length, checksum.
pub(super) const HEAD: usize = 12;
/// A payload is never longer: a transaction is bounded, see [`crate::state::TXN_LIMIT`], and its framing is small beside that.
const PAYLOAD_LIMIT: usize = 16 << 20;

/// One key's new content as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) key: Arc<str>,
    /// `None`: the key was deleted.
    pub(super) record: Option<Arc<Record>>,
    /// What the key held before was volatile: the log does not know it.
    pub(super) hides_volatile: bool,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A transaction.
    Txn { revision: Revision, puts: Vec<Put> },
    /// Revisions up to this one may have been given to volatile changes, which the log does not hold.
    Reserve { up_to: Revision },
    /// History up to this revision was forgotten on purpose.
    Compact { to: Revision },
    /// The store was closed in order at `revision`; the last volatile change, which the log does not hold, was at `volatile`.
    Close {
        revision: Revision,
        volatile: Revision,
    },
}

impl Frame {
    /// The transaction that `events` are; `unlogged` are the keys whose former content is volatile.
    pub(super) fn txn(revision: Revision, events: &[Event], unlogged: &BTreeSet<Arc<str>>) -> Self {
        let puts = events
            .iter()
            .map(|event| Put {
                key: Arc::from(event.key()),
                record: event.current.clone(),
                hides_volatile: unlogged.contains(event.key()),
            })
            .collect();
        Self::Txn { revision, puts }
    }

    /// Appends the frame to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MARK);
        out.extend_from_slice(&[0; HEAD - MARK.len()]);
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
            Self::Close { revision, volatile } => {
                out.push(4);
                put_u64(out, revision.0);
                put_u64(out, volatile.0);
            }
        }
        let length = u32::try_from(out.len() - start - HEAD).unwrap_or(u32::MAX);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&length.to_le_bytes());
        checksum.update(out.get(start + HEAD..).unwrap_or_default());
        let checksum = checksum.finalize().to_le_bytes();
        for (slot, byte) in out
            .iter_mut()
            .skip(start + MARK.len())
            .zip(length.to_le_bytes().into_iter().chain(checksum))
        {
            *slot = byte;
        }
    }

    /// Reads the frame at the start of `bytes` and says how long it is. `None`: there is no whole, undamaged frame here.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut head = Reader(bytes);
        if head.take(MARK.len())? != MARK {
            return None;
        }
        let length = head.u32()?;
        let expected = u32::try_from(head.u32()?).ok()?;
        if length > PAYLOAD_LIMIT {
            return None;
        }
        let payload = head.take(length)?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&u32::try_from(length).ok()?.to_le_bytes());
        checksum.update(payload);
        if checksum.finalize() != expected {
            return None;
        }
        let mut reader = Reader(payload);
        let frame = match reader.take(1)?.first()? {
            1 => {
                let revision = Revision(reader.u64()?);
                let count = reader.u32()?;
                let puts = (0..count)
                    .map(|_| decode_put(&mut reader))
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
                volatile: Revision(reader.u64()?),
            },
            _ => return None,
        };
        Some((frame, HEAD + length))
    }
}

fn encode_put(put: &Put, out: &mut Vec<u8>) {
    out.push(u8::from(put.record.is_some()) | u8::from(put.hides_volatile) << 1);
    put_u32(out, put.key.len());
    out.extend_from_slice(put.key.as_bytes());
    if let Some(record) = &put.record {
        put_u64(out, record.created.0);
        put_u64(out, record.modified.0);
        put_u32(out, record.value.len());
        out.extend_from_slice(&record.value);
    }
}

fn decode_put(reader: &mut Reader<'_>) -> Option<Put> {
    let flags = *reader.take(1)?.first()?;
    let hides_volatile = flags & 2 != 0;
    let length = reader.u32()?;
    let key: Arc<str> = Arc::from(std::str::from_utf8(reader.take(length)?).ok()?);
    if flags & 1 == 0 {
        return Some(Put {
            key,
            record: None,
            hides_volatile,
        });
    }
    let (created, modified) = (Revision(reader.u64()?), Revision(reader.u64()?));
    let length = reader.u32()?;
    let value = Bytes::copy_from_slice(reader.take(length)?);
    Some(Put {
        key: Arc::clone(&key),
        record: Some(Arc::new(Record {
            key,
            value,
            created,
            modified,
        })),
        hides_volatile,
    })
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Lengths are far below 4 GiB by [`crate::state::TXN_LIMIT`].
fn put_u32(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let put = (
            "[a-z/]{1,12}",
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..64)),
            any::<u64>(),
        )
            .prop_map(|(key, value, revision)| {
                let key: Arc<str> = key.into();
                let record = value.map(|value| {
                    Arc::new(Record {
                        key: Arc::clone(&key),
                        value: value.into(),
                        created: Revision(revision / 2),
                        modified: Revision(revision),
                    })
                });
                Put {
                    key,
                    record,
                    hides_volatile: false,
                }
            });
        prop_oneof![
            (any::<u64>(), proptest::collection::vec(put, 0..4)).prop_map(|(revision, puts)| {
                Frame::Txn {
                    revision: Revision(revision),
                    puts,
                }
            }),
            any::<u64>().prop_map(|revision| Frame::Reserve {
                up_to: Revision(revision)
            }),
            any::<(u64, u64)>().prop_map(|(revision, volatile)| Frame::Close {
                revision: Revision(revision),
                volatile: Revision(volatile)
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(frame in frames(), trailing in proptest::collection::vec(any::<u8>(), 0..16)) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            let length = bytes.len();
            bytes.extend(trailing);
            prop_assert_eq!(Frame::decode(&bytes), Some((frame, length)));
        }

        #[test]
        fn a_cut_or_changed_frame_is_no_frame(frame in frames(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            let at = at.index(bytes.len());
            prop_assert_eq!(Frame::decode(&bytes[..at]), None);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Frame::decode(&bytes), None);
        }
    }
}
