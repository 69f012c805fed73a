//! Backups: all records at one revision, in a file that can be checked without a store. No history: whoever held a revision from before starts anew.
//!
//! A file is a line of introduction and blocks, each with its length and checksum: first what the backup is, then records, last how many there
//! were. A file that was cut short lacks the last one and is refused.

use std::{
    io::{self, BufReader, Read},
    sync::Arc,
};

use crate::{
    embedded::{
        entry::{Put, decode_put, encode_put},
        layout::{Reader, put_u64},
    },
    record::Record,
    revision::Revision,
    storage::Page,
};

/// First bytes of a backup, with the version of its form.
const MAGIC: [u8; 16] = *b"coracle-backup\x01\n";
/// A block is closed at this size.
const BLOCK: usize = 256 << 10;
/// No block is longer: a record is bounded by [`crate::state::VALUE_LIMIT`].
const BLOCK_LIMIT: usize = 4 << 20;

/// What is wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file could not be read.
    #[error("read the backup")]
    Read(#[source] io::Error),
    /// It is something else.
    #[error("this is no backup of a coracle store")]
    NoBackup,
    /// It was made by another version.
    #[error(
        "this backup is in format {0}, which this version of coracle does not know: use a newer one"
    )]
    Unsupported(u8),
    /// It is not what was written.
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
}

/// A backup being written: its bytes, block by block.
#[derive(Debug)]
pub struct Backup {
    records: std::vec::IntoIter<Arc<Record>>,
    revision: Revision,
    written: u64,
    begun: bool,
    ended: bool,
}

impl Backup {
    /// A backup of everything, which `page` must be.
    #[must_use]
    pub fn of(page: Page) -> Self {
        Self {
            records: page.records.into_iter(),
            revision: page.revision,
            written: 0,
            begun: false,
            ended: false,
        }
    }
}

impl Iterator for Backup {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if !self.begun {
            self.begun = true;
            let mut about = Vec::new();
            put_u64(&mut about, self.revision.0);
            return Some([&MAGIC[..], &block(&about)].concat());
        }
        let mut content = Vec::new();
        for record in self.records.by_ref() {
            let put = Put {
                key: Arc::clone(&record.key),
                record: Some(record),
            };
            encode_put(&put, &mut content);
            self.written += 1;
            if content.len() >= BLOCK {
                break;
            }
        }
        if !content.is_empty() {
            return Some(block(&content));
        }
        if self.ended {
            return None;
        }
        self.ended = true;
        // An empty block, then how many records there were.
        let mut end = block(&[]);
        let mut count = Vec::new();
        put_u64(&mut count, self.written);
        end.extend(block(&count));
        Some(end)
    }
}

fn block(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&length.to_le_bytes());
    checksum.update(content);
    let mut block = Vec::with_capacity(content.len() + 8);
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&checksum.finalize().to_le_bytes());
    block.extend_from_slice(content);
    block
}

/// A backup being read.
#[derive(Debug)]
pub struct BackupReader<R> {
    from: BufReader<R>,
    revision: Revision,
    read: u64,
}

impl<R: Read> BackupReader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// When it is no backup that this version reads.
    pub fn new(from: R) -> Result<Self, BackupError> {
        let mut from = BufReader::new(from);
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => BackupError::NoBackup,
                _ => BackupError::Read(error),
            })?;
        if magic != MAGIC {
            let (name, version) = (MAGIC.get(..14), magic.get(14).copied());
            return Err(match version {
                Some(version) if magic.get(..14) == name && version > 1 => {
                    BackupError::Unsupported(version)
                }
                _ => BackupError::NoBackup,
            });
        }
        let mut reader = Self {
            from,
            revision: Revision(0),
            read: 0,
        };
        let about = reader.block()?;
        let revision = Reader(&about).u64();
        reader.revision = Revision(revision.ok_or(BackupError::Damaged("its beginning"))?);
        Ok(reader)
    }

    /// The revision that the records are of.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Some more records, in key order; `None` at the end, when everything was there.
    ///
    /// # Errors
    /// When the rest is damaged or missing.
    pub fn more(&mut self) -> Result<Option<Vec<Record>>, BackupError> {
        let content = self.block()?;
        if content.is_empty() {
            let count = Reader(&self.block()?).u64();
            let mut more = [0];
            return match self.from.read(&mut more) {
                Err(error) => Err(BackupError::Read(error)),
                Ok(0) if count == Some(self.read) => Ok(None),
                Ok(0) => Err(BackupError::Damaged("records are missing")),
                Ok(_) => Err(BackupError::Damaged("something follows its end")),
            };
        }
        let mut reader = Reader(&content);
        let mut records = Vec::new();
        while !reader.0.is_empty() {
            let put = decode_put(&mut reader).ok_or(BackupError::Damaged("a record"))?;
            let record = put.record.ok_or(BackupError::Damaged("a record"))?;
            records.push(Arc::unwrap_or_clone(record));
            self.read += 1;
        }
        Ok(Some(records))
    }

    /// Reads to the end, which checks everything, and counts the records and their bytes.
    ///
    /// # Errors
    /// As [`BackupReader::more`].
    pub fn check(mut self) -> Result<(u64, u64), BackupError> {
        let (mut records, mut bytes) = (0, 0);
        while let Some(some) = self.more()? {
            records += some.len() as u64;
            bytes += some
                .iter()
                .map(|record| (record.key.len() + record.value.len()) as u64)
                .sum::<u64>();
        }
        Ok((records, bytes))
    }

    fn block(&mut self) -> Result<Vec<u8>, BackupError> {
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Damaged("it was cut short"),
            _ => BackupError::Read(error),
        };
        let (mut length, mut stated) = ([0; 4], [0; 4]);
        self.from.read_exact(&mut length).map_err(cut)?;
        self.from.read_exact(&mut stated).map_err(cut)?;
        let size = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if size > BLOCK_LIMIT {
            return Err(BackupError::Damaged("a block's length"));
        }
        let mut content = vec![0; size];
        self.from.read_exact(&mut content).map_err(cut)?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&length);
        checksum.update(&content);
        if checksum.finalize().to_le_bytes() != stated {
            return Err(BackupError::Damaged("a block's checksum"));
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{List, MemoryStorage, Op, Storage};

    async fn sample() -> Vec<u8> {
        let store = MemoryStorage::new();
        for number in 0..700 {
            let value = vec![b'v'; 1000 + number % 300];
            store
                .commit(vec![Op::create(format!("/n/{number:04}"), value)])
                .await
                .unwrap();
        }
        let page = store.list(List::default()).await.unwrap();
        Backup::of(page).flatten().collect()
    }

    #[tokio::test]
    async fn what_is_backed_up_is_read() {
        let bytes = sample().await;
        let mut reader = BackupReader::new(&bytes[..]).unwrap();
        assert_eq!(reader.revision(), Revision(700));
        let mut keys = Vec::new();
        while let Some(records) = reader.more().unwrap() {
            keys.extend(records.into_iter().map(|record| record.key.to_string()));
        }
        assert_eq!(keys.len(), 700);
        assert!(keys.is_sorted());
    }

    #[tokio::test]
    async fn a_damaged_backup_is_refused_wherever_it_is_damaged() {
        let good = sample().await;
        let check = |bytes: &[u8]| BackupReader::new(bytes).and_then(BackupReader::check);
        assert_eq!(check(&good).unwrap().0, 700);
        for at in (0..good.len()).step_by(good.len() / 97) {
            assert!(check(&good[..at]).is_err(), "cut to {at}");
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(check(&bad).is_err(), "flipped at {at}");
        }
        let longer = [&good[..], b"x"].concat();
        assert!(matches!(check(&longer), Err(BackupError::Damaged(_))));
    }

    #[test]
    fn an_empty_store_can_be_backed_up() {
        let page = Page {
            records: Vec::new(),
            revision: Revision(0),
            remaining: 0,
        };
        let bytes: Vec<u8> = Backup::of(page).flatten().collect();
        assert_eq!(
            BackupReader::new(&bytes[..]).unwrap().check().unwrap(),
            (0, 0)
        );
    }
}
