//! A file of the log: a header with the revision it begins after, then frames. Appended to by one writer, read whole at open and checkpoint.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::frame::{Frame, HEAD, MARK};
use crate::{error::StoreError, revision::Revision};

/// First bytes of a segment: what it is and the version of its form. A higher version is not ours to read.
const MAGIC: [u8; 8] = *b"coralog\x01";
/// Magic, base revision, checksum of both.
const HEADER: usize = 20;

/// The segment being written.
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    length: u64,
}

/// A segment as read back.
pub(super) struct Contents {
    /// The store's revision when the segment was begun.
    pub(super) base: Revision,
    /// Its frames in order.
    pub(super) frames: Vec<Frame>,
    /// Where the last good frame ends.
    pub(super) end: u64,
    /// Whether anything, necessarily a torn frame, follows the last good frame.
    pub(super) torn: bool,
}

/// The name of the segment that begins after `base`: sorts by revision.
fn name(base: Revision) -> String {
    format!("log-{:020}", base.0)
}

/// The segments in `folder`, oldest first.
pub(super) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("log-"))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the names in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Segment {
    /// Begins a segment after `base`, durable under its name when this returns.
    pub(super) fn create(folder: &Path, base: Revision) -> io::Result<Self> {
        let path = folder.join(name(base));
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&base.0.to_le_bytes());
        let checksum = crc32fast::hash(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        // Written aside first: a segment either has its header or does not exist.
        let aside = folder.join("new-segment");
        let mut file = File::create(&aside)?;
        file.write_all(&header)?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        sync_folder(folder)?;
        Ok(Self {
            file,
            path,
            length: HEADER as u64,
        })
    }

    /// Goes on with an existing segment behind its last good frame; a torn end is cut off.
    pub(super) fn resume(path: &Path, end: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(end)?;
        file.sync_all()?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(end))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            length: end,
        })
    }

    /// Appends and makes durable. After an error the segment's end is unknown and must not be written again.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        self.file.write_all(frames)?;
        self.file.sync_data()?;
        self.length += frames.len() as u64;
        Ok(())
    }

    /// How long the file is.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads a segment. `newest`: only the newest may end in a torn frame.
///
/// # Errors
/// `Corrupt` when the header is damaged, or a damaged frame is followed by a good one (then it is no torn end: something acknowledged is
/// gone), or an older segment does not end cleanly.
pub(super) fn read(path: &Path, newest: bool) -> Result<Contents, StoreError> {
    let shown = path.display();
    let corrupt = |what: &str| StoreError::Corrupt {
        reason: format!("{shown}: {what}"),
    };
    let bytes = fs::read(path).map_err(|error| StoreError::Unavailable {
        reason: format!("read {shown}: {error}"),
    })?;
    let (header, body) = bytes
        .split_at_checked(HEADER)
        .ok_or_else(|| corrupt("the header is missing"))?;
    let (stated, checksum) = header
        .split_at_checked(HEADER - 4)
        .ok_or_else(|| corrupt("the header is missing"))?;
    if crc32fast::hash(stated).to_le_bytes() != checksum {
        return Err(corrupt("the header is damaged"));
    }
    let (magic, base) = stated
        .split_at_checked(MAGIC.len())
        .ok_or_else(|| corrupt("the header is missing"))?;
    if magic != MAGIC {
        return Err(corrupt("written in a form this version does not know"));
    }
    let base = Revision(
        base.try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| corrupt("the header is missing"))?,
    );
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some((frame, length)) = Frame::decode(body.get(at..).unwrap_or_default()) {
        frames.push(frame);
        at += length;
    }
    let torn = at < body.len();
    if torn {
        if !newest {
            return Err(corrupt("a frame is damaged"));
        }
        if let Some(good) = next_frame(body, at + 1) {
            return Err(corrupt(&format!(
                "the frame at byte {} is damaged and a good one follows at {}",
                HEADER + at,
                HEADER + good
            )));
        }
    }
    Ok(Contents {
        base,
        frames,
        end: (HEADER + at) as u64,
        torn,
    })
}

/// Where the next whole frame is, from `from` on.
fn next_frame(body: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at + HEAD <= body.len() {
        let rest = body.get(at..)?;
        if rest.starts_with(&MARK) && Frame::decode(rest).is_some() {
            return Some(at);
        }
        at += 1;
    }
    None
}
