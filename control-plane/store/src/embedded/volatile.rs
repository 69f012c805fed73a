//! Volatile changes over an orderly restart: written once at close, read once at open, then put back among the log's transactions where they
//! belong. After a crash there is no such file, or one that the log's end does not name, and the changes are lost, which is what volatile means.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    entry::{Entry, Put, decode_put, encode_put},
    layout::{Reader, put_text, put_u32, put_u64},
};
use crate::{error::StoreError, record::Record, revision::Revision, state::State};

/// Volatile changes and what they build on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// History begins after this revision.
    pub(super) floor: Revision,
    /// What the keys concerned held at `floor`.
    pub(super) base: Vec<Put>,
    /// The volatile transactions since, in order.
    pub(super) txns: VecDeque<(Revision, Vec<Put>)>,
    /// Keys whose present content the log does not hold.
    pub(super) unlogged: BTreeSet<Arc<str>>,
    /// Keys whose content the log did not hold until a durable change at that revision, since `floor`.
    pub(super) covered: VecDeque<(Revision, Arc<str>)>,
}

/// A key under which so many prefixes are told apart: `/registry/group/kind/`. Deeper ones would be too many to list, shallower ones would make
/// all watches begin anew after a crash for the sake of some.
const DEPTH: usize = 4;

/// The prefix that a volatile change of `key` is announced under.
pub(super) fn prefix_of(key: &str) -> &str {
    let cut = key.match_indices('/').take(DEPTH).last();
    cut.map_or("", |(at, _)| key.get(..=at).unwrap_or_default())
}

impl Kept {
    /// What must be kept of `state`, in which the transactions of `revisions` are volatile.
    pub(super) fn of(
        state: &State,
        revisions: &VecDeque<Revision>,
        unlogged: &BTreeSet<Arc<str>>,
        covered: &VecDeque<(Revision, Arc<str>)>,
    ) -> Self {
        let floor = state.floor();
        let volatile: BTreeSet<Revision> = revisions.iter().copied().collect();
        let mut concerned = unlogged.clone();
        concerned.extend(covered.iter().map(|(_, key)| Arc::clone(key)));
        let mut txns: VecDeque<(Revision, Vec<Put>)> = VecDeque::new();
        for event in state.history().events() {
            if !volatile.contains(&event.revision) {
                continue;
            }
            let key = event.shared_key();
            concerned.insert(Arc::clone(&key));
            let put = Put {
                key,
                record: event.current.clone(),
            };
            match txns.back_mut() {
                Some((revision, puts)) if *revision == event.revision => puts.push(put),
                _ => txns.push_back((event.revision, vec![put])),
            }
        }
        let mut at_floor: BTreeMap<&str, Option<Arc<Record>>> = BTreeMap::new();
        for event in state.history().events() {
            if concerned.contains(event.key()) {
                at_floor
                    .entry(event.key())
                    .or_insert_with(|| event.previous.clone());
            }
        }
        let base = concerned
            .iter()
            .map(|key| Put {
                key: Arc::clone(key),
                record: match at_floor.remove(&**key) {
                    Some(record) => record,
                    None => state.get(key).cloned(),
                },
            })
            .collect();
        Self {
            floor,
            base,
            txns,
            unlogged: unlogged.clone(),
            covered: covered.clone(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.floor.0);
        put_u32(&mut out, self.base.len());
        for put in &self.base {
            encode_put(put, &mut out);
        }
        put_u32(&mut out, self.unlogged.len());
        for key in &self.unlogged {
            put_text(&mut out, key);
        }
        put_u32(&mut out, self.covered.len());
        for (revision, key) in &self.covered {
            put_u64(&mut out, revision.0);
            put_text(&mut out, key);
        }
        for (revision, puts) in &self.txns {
            Entry::Txn {
                revision: *revision,
                puts: puts.clone(),
            }
            .encode(&mut out);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let floor = Revision(reader.u64()?);
        let count = reader.u32()?;
        let base = (0..count)
            .map(|_| decode_put(&mut reader))
            .collect::<Option<Vec<_>>>()?;
        let count = reader.u32()?;
        let unlogged = (0..count)
            .map(|_| reader.text())
            .collect::<Option<BTreeSet<_>>>()?;
        let count = reader.u32()?;
        let covered = (0..count)
            .map(|_| Some((Revision(reader.u64()?), reader.text()?)))
            .collect::<Option<VecDeque<_>>>()?;
        let txns = Entry::decode_all(reader.0)?
            .into_iter()
            .map(|entry| match entry {
                Entry::Txn { revision, puts } => Some((revision, puts)),
                _ => None,
            })
            .collect::<Option<VecDeque<_>>>()?;
        Some(Self {
            floor,
            base,
            txns,
            unlogged,
            covered,
        })
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("volatile")
}

/// A checksum wide enough to name a file by.
fn digest(bytes: &[u8]) -> u64 {
    let mut seeded = crc32fast::Hasher::new_with_initial(0x5eed);
    seeded.update(bytes);
    u64::from(crc32fast::hash(bytes)) << 32 | u64::from(seeded.finalize())
}

/// Keeps it, durably; says by which number the log's end is to name it, and how many bytes it takes.
pub(super) fn save(folder: &Path, kept: &Kept) -> io::Result<(u64, u64)> {
    let bytes = kept.encode();
    let aside = folder.join("new-volatile");
    let mut file = File::create(&aside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(aside, path(folder))?;
    super::segment::sync_folder(folder)?;
    Ok((digest(&bytes), bytes.len() as u64))
}

/// What was kept under the number `named`; `None` when there is no such file or it is another: volatile content is not worth refusing to open.
pub(super) fn load(folder: &Path, named: u64) -> Result<Option<Kept>, StoreError> {
    let bytes = match fs::read(path(folder)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(StoreError::Unavailable {
                reason: format!("read {}: {error}", path(folder).display()),
            });
        }
    };
    if digest(&bytes) != named {
        return Ok(None);
    }
    Ok(Kept::decode(&bytes))
}

/// Removes what a crash between writing aside and renaming left.
pub(super) fn tidy(folder: &Path) -> io::Result<()> {
    for name in ["new-segment", "new-volatile"] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_and_objects_are_not() {
        for (key, prefix) in [
            ("/registry/core/events/ns/a", "/registry/core/events/"),
            (
                "/registry/coordination.k8s.io/leases/x",
                "/registry/coordination.k8s.io/leases/",
            ),
            ("/a/1", "/a/"),
            ("/c", "/"),
            ("plain", ""),
        ] {
            assert_eq!(prefix_of(key), prefix);
        }
    }
}
