//! A file of the log: a header, then frames. Made at its full length, with a hole where nothing is written yet, so that a shortened file is
//! seen for what it is. Appended to by one writer, read whole at open and checkpoint.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    entry::{Entry, Promises},
    frame::{self, HEAD, Place},
    layout::{Reader, put_u64},
};
use crate::{error::StoreError, revision::Revision};

/// First bytes of a segment: what it is and the version of its form. A higher version is not ours to read.
const MAGIC: [u8; 8] = *b"coralog\x02";
/// Magic, base revision, length of the file, salt, checksum of them.
const HEADER: usize = 36;
/// Kept free at a segment's end for the entries that close it.
const MARGIN: u64 = 64;

/// The segment being written.
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    base: Revision,
    salt: u64,
    /// Where the next frame goes.
    end: u64,
    /// How long the file is.
    size: u64,
}

/// A segment as read back.
pub(super) struct Contents {
    /// The revision of the last transaction before this segment.
    pub(super) base: Revision,
    /// Its entries in order.
    pub(super) entries: Vec<Entry>,
    /// Where the last good frame ends.
    pub(super) end: u64,
    /// Whether anything, necessarily a torn frame, follows the last good frame.
    pub(super) torn: bool,
    salt: u64,
    size: u64,
}

impl Contents {
    /// Whether it is the first segment of a store in which nothing has happened yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.base == Revision(0) && self.entries.len() == 1 && !self.torn
    }

    /// The revision of the last transaction up to this segment's end.
    pub(super) fn last(&self) -> Revision {
        self.entries
            .iter()
            .rev()
            .find_map(|entry| match entry {
                Entry::Txn { revision, .. } => Some(*revision),
                _ => None,
            })
            .unwrap_or(self.base)
    }
}

/// The segments in `folder`, oldest first; none where there is no folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("log-"))
        {
            found.push(path);
        }
    }
    // Names sort by revision.
    found.sort();
    Ok(found)
}

/// Makes the names in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Segment {
    /// Begins a segment after `base` that has room for `room` bytes, durable under its name when this returns. One of the same base, which can
    /// hold no transaction, is replaced.
    pub(super) fn create(
        folder: &Path,
        base: Revision,
        promises: &Promises,
        room: u64,
    ) -> io::Result<Self> {
        let path = folder.join(format!("log-{:020}", base.0));
        let salt = crate::chance::unguessable();
        let mut payload = Vec::new();
        Entry::Begin(promises.clone()).encode(&mut payload);
        let place = Place {
            salt,
            offset: HEADER as u64,
        };
        let begin = frame::seal(&payload, place);
        let end = HEADER as u64 + begin.len() as u64;
        let size = end + room + MARGIN;
        let mut bytes = Vec::with_capacity(HEADER + begin.len());
        bytes.extend_from_slice(&MAGIC);
        put_u64(&mut bytes, base.0);
        put_u64(&mut bytes, size);
        put_u64(&mut bytes, salt);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&begin);
        // Written aside first: a segment either has its beginning or does not exist.
        let aside = folder.join("new-segment");
        let file = File::create(&aside)?;
        file.set_len(size)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        sync_folder(folder)?;
        Ok(Self {
            file,
            path,
            base,
            salt,
            end,
            size,
        })
    }

    /// Goes on with a segment that was read; a torn end is erased, and what was read is made durable: a note that was never synced must not
    /// be torn once a frame follows it.
    pub(super) fn resume(path: &Path, contents: &Contents) -> io::Result<Self> {
        let segment = Self {
            file: OpenOptions::new().write(true).open(path)?,
            path: path.to_owned(),
            base: contents.base,
            salt: contents.salt,
            end: contents.end,
            size: contents.size,
        };
        if contents.torn {
            segment.erase_tail()?;
        }
        segment.file.sync_all()?;
        Ok(segment)
    }

    /// Whether a frame with this payload still has its place in the segment.
    pub(super) fn has_room(&self, payload: usize) -> bool {
        self.end + HEAD as u64 + payload as u64 + MARGIN <= self.size
    }

    /// Appends a frame and makes it durable; says how long it is. After an error nothing of it may be taken for written, see
    /// [`Segment::erase_tail`].
    pub(super) fn append(&mut self, payload: &[u8]) -> Result<u64, AppendError> {
        let length = self.write(payload).map_err(AppendError::Write)?;
        self.file.sync_data().map_err(AppendError::Sync)?;
        self.end += length;
        Ok(length)
    }

    /// Writes a small entry that is worth no sync. The next frame takes its place, so that it is never a damaged frame before a good one.
    pub(super) fn note(&self, entry: &Entry) -> io::Result<u64> {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        self.write(&payload)
    }

    fn write(&self, payload: &[u8]) -> io::Result<u64> {
        let place = Place {
            salt: self.salt,
            offset: self.end,
        };
        let frame = frame::seal(payload, place);
        self.file.write_all_at(&frame, self.end)?;
        Ok(frame.len() as u64)
    }

    /// Makes a hole of everything behind the last good frame. What was written there in part must not be found behind a later frame. Needs no
    /// space, and the file never gets shorter: that would be damage, should the power fail meanwhile.
    pub(super) fn erase_tail(&self) -> io::Result<()> {
        use rustix::{fs::FallocateFlags, io::Errno};
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let length = self.size.saturating_sub(self.end);
        match rustix::fs::fallocate(&self.file, hole, self.end, length) {
            Err(Errno::OPNOTSUPP) => {
                let zeros = [0; 64 << 10];
                let mut at = self.end;
                while at < self.size {
                    let part = usize::try_from(self.size - at).unwrap_or(usize::MAX);
                    let part = zeros.get(..part.min(zeros.len())).unwrap_or(&zeros);
                    self.file.write_all_at(part, at)?;
                    at += part.len() as u64;
                }
            }
            punched => punched?,
        }
        self.file.sync_all()
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The revision of the last transaction before this segment.
    pub(super) fn base(&self) -> Revision {
        self.base
    }
}

/// An append that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    /// Nothing reached the file for certain, and nothing was promised: it can be tried again once the tail is erased.
    #[error("write: {0}")]
    Write(io::Error),
    /// The system lost track of what is on the disk. What a second sync says is worth nothing.
    #[error("sync: {0}")]
    Sync(io::Error),
}

/// Reads a segment.
///
/// # Errors
/// `Corrupt` when the header is damaged, the file is shorter than it was made, or a damaged frame is followed by a good one (then it is no
/// torn end: something acknowledged is gone).
pub(super) fn read(path: &Path) -> Result<Contents, StoreError> {
    let shown = path.display();
    let corrupt = |what: &str| StoreError::Corrupt {
        reason: format!("{shown}: {what}"),
    };
    let bytes = fs::read(path).map_err(|error| StoreError::Unavailable {
        reason: format!("read {shown}: {error}"),
    })?;
    let (base, size, salt) = header(&bytes).map_err(corrupt)?;
    if (bytes.len() as u64) < size {
        return Err(corrupt(&format!(
            "{} bytes long, it was made with {size}",
            bytes.len()
        )));
    }
    let mut entries = Vec::new();
    let mut at = HEADER;
    let place = |at: usize| Place {
        salt,
        offset: at as u64,
    };
    while let Some(payload) = frame::unseal(bytes.get(at..).unwrap_or_default(), place(at)) {
        let read = Entry::decode_all(payload)
            .ok_or_else(|| corrupt(&format!("the frame at byte {at} says what is not known")))?;
        entries.extend(read);
        at += HEAD + payload.len();
    }
    let tail = bytes.get(at..).unwrap_or_default();
    let torn = tail.iter().any(|byte| *byte != 0);
    if torn && let Some(good) = frame::find(tail, 1, place(at)) {
        return Err(corrupt(&format!(
            "the frame at byte {at} is damaged and a good one follows at {}",
            at + good
        )));
    }
    if entries.is_empty() {
        return Err(corrupt("its first frame is damaged"));
    }
    Ok(Contents {
        base,
        entries,
        end: at as u64,
        torn,
        salt,
        size,
    })
}

/// Base, size and salt.
fn header(bytes: &[u8]) -> Result<(Revision, u64, u64), &'static str> {
    let mut reader = Reader(bytes);
    let stated = reader.take(HEADER - 4).ok_or("the header is missing")?;
    let checksum = reader.take(4).ok_or("the header is missing")?;
    let (magic, rest) = stated
        .split_at_checked(MAGIC.len())
        .ok_or("the header is missing")?;
    if magic != MAGIC && magic.starts_with(b"coralog") {
        return Err("written in a form this version of coracle does not know");
    }
    if crc32fast::hash(stated).to_le_bytes() != checksum || magic != MAGIC {
        return Err("the header is damaged");
    }
    let mut rest = Reader(rest);
    let mut number = || rest.u64().ok_or("the header is missing");
    Ok((Revision(number()?), number()?, number()?))
}
