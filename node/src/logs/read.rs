//! Reads a log back as `kubectl logs` asks for it: the last lines, since a time, followed as it grows, with or without times.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    io::{Read, Seek, SeekFrom, Take},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    LogFile,
    file::Progress,
    line::{self, Stream as Source},
    rotated,
};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// How often a rotation may come in between while the files are opened.
const REOPENS: usize = 5;
/// The longest line that can be: text, time and stream. What is longer is damage and is skipped.
const LINE_LIMIT: usize = line::LONGEST + 256;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Goes on until the container ends.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only what was written from then on.
    pub since: Option<Timestamp>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
    /// Only one of the streams.
    pub source: Option<Source>,
}

/// A log being read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    options: Options,
    /// Files to be read, the oldest first, each as far as it went when it was opened unless it is followed.
    files: VecDeque<Take<File>>,
    /// How the present file grows, if it does.
    live: Option<watch::Receiver<Progress>>,
    /// The rotation that the last of the files is of.
    rotations: u64,
    /// A line whose end was not read yet.
    begun: Vec<u8>,
    /// The line before went on.
    goes_on: bool,
    left: Option<u64>,
    is_done: bool,
}

impl Reader {
    /// Opens the log at `path`, which `live` writes. A log that is not there has no lines yet. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path, live: Option<&Arc<LogFile>>, options: Options) -> io::Result<Self> {
        let live = live.map(|file| file.progress());
        let rotations = || live.as_ref().map_or(0, |live| live.borrow().rotations);
        let mut seen = rotations();
        let mut files = open_both(path, options.follow)?;
        for _ in 0..REOPENS {
            // A rotation between the two would leave out the file that it moved.
            let now = rotations();
            if now == seen {
                break;
            }
            seen = now;
            files = open_both(path, options.follow)?;
        }
        if let Some(lines) = options.tail_lines {
            tail(&mut files, lines)?;
        }
        Ok(Self {
            path: path.to_owned(),
            left: options.limit_bytes,
            options,
            files,
            rotations: seen,
            live,
            begun: Vec::new(),
            goes_on: false,
            is_done: false,
        })
    }

    /// The log as a stream of bytes.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::unfold(self, |reader| async {
            if reader.is_done {
                return None;
            }
            match reader.next().await {
                Ok((Some(bytes), reader)) => Some((Ok(bytes), reader)),
                Ok((None, _)) => None,
                Err((error, reader)) => Some((Err(error), reader)),
            }
        })
    }

    /// The next bytes; nothing at the end.
    async fn next(mut self) -> Result<(Option<Bytes>, Self), (io::Error, Self)> {
        loop {
            // How far it is on disk is looked at before reading, so that nothing that comes in between is missed.
            let seen = self.live.as_mut().map(|live| *live.borrow_and_update());
            let read = tokio::task::spawn_blocking(move || {
                let read = self.read();
                (self, read)
            });
            let (reader, read) = match read.await {
                Ok(read) => read,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            self = reader;
            match read {
                Ok(bytes) if !bytes.is_empty() => return Ok((Some(bytes), self)),
                Ok(_) if self.is_done => return Ok((None, self)),
                Ok(_) => {}
                Err(error) => {
                    self.is_done = true;
                    return Err((error, self));
                }
            }
            // The end, for now. Who does not follow is told no more: a flood would never end.
            let Some(seen) = seen.filter(|_| self.options.follow) else {
                return Ok((None, self));
            };
            if seen.rotations != self.rotations {
                if let Err(error) = self.reopen(seen.rotations) {
                    self.is_done = true;
                    return Err((error, self));
                }
                continue;
            }
            if seen.is_closed {
                return Ok((None, self));
            }
            let Some(live) = self.live.as_mut() else {
                return Ok((None, self));
            };
            if live.changed().await.is_err() {
                return Ok((None, self));
            }
        }
    }

    /// The file was rotated away after the last of ours was opened: goes on with what came after.
    fn reopen(&mut self, rotations: u64) -> io::Result<()> {
        // More than one rotation behind: what lies between is lost, as it is on disk.
        self.rotations = rotations;
        self.begun.clear();
        match File::open(&self.path) {
            Ok(file) => {
                self.files.clear();
                self.files.push_back(file.take(u64::MAX));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads what there is, up to a chunk or so. Blocks.
    fn read(&mut self) -> io::Result<Bytes> {
        let mut out = Vec::new();
        let mut chunk = vec![0; CHUNK];
        if self.files.is_empty() && self.live.is_some() && self.options.follow {
            // It had not begun when we looked first.
            match File::open(&self.path) {
                Ok(file) => self.files.push_back(file.take(u64::MAX)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        while out.is_empty() && !self.is_done {
            let Some(file) = self.files.front_mut() else {
                break;
            };
            let n = file.read(&mut chunk)?;
            if n == 0 {
                if self.files.len() <= 1 {
                    break;
                }
                self.files.pop_front();
                self.begun.clear();
                continue;
            }
            self.take(chunk.get(..n).unwrap_or_default(), &mut out);
        }
        Ok(out.into())
    }

    /// Takes raw bytes of the file and appends the lines asked for.
    fn take(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        for piece in raw.split_inclusive(|byte| *byte == b'\n') {
            if self.begun.len() + piece.len() <= LINE_LIMIT {
                self.begun.extend_from_slice(piece);
            } else {
                self.begun.clear();
            }
            if self.begun.ends_with(b"\n") {
                let line = mem::take(&mut self.begun);
                self.line(line.strip_suffix(b"\n").unwrap_or(&line), out);
            }
            if self.is_done {
                return;
            }
        }
    }

    fn line(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let Some(line) = line::parse(raw) else { return };
        if self
            .options
            .source
            .is_some_and(|source| source != line.stream)
        {
            return;
        }
        if let Some(since) = self.options.since
            && line
                .time
                .parse::<Timestamp>()
                .is_ok_and(|time| time < since)
        {
            return;
        }
        let begun = out.len();
        if self.options.timestamps && !self.goes_on {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.goes_on {
            out.push(b'\n');
        }
        self.goes_on = line.goes_on;
        if let Some(left) = &mut self.left {
            let added = out.len() - begun;
            let allowed = usize::try_from(*left).unwrap_or(usize::MAX).min(added);
            out.truncate(begun + allowed);
            *left -= u64::try_from(allowed).unwrap_or(*left);
            self.is_done = *left == 0;
        }
    }
}

/// The file before and the present one.
fn open_both(path: &Path, follow: bool) -> io::Result<VecDeque<Take<File>>> {
    let mut files = VecDeque::new();
    for path in [rotated(path), path.to_owned()] {
        match File::open(path) {
            Ok(file) => {
                let end = if follow {
                    u64::MAX
                } else {
                    file.metadata()?.len()
                };
                files.push_back(file.take(end));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// Leaves only the last `lines` of the files.
fn tail(files: &mut VecDeque<Take<File>>, lines: u64) -> io::Result<()> {
    let mut left = lines;
    for index in (0..files.len()).rev() {
        let Some(file) = files.get_mut(index) else {
            continue;
        };
        match last_lines(file, left)? {
            Found::Here(start) => {
                file.get_mut().seek(SeekFrom::Start(start))?;
                file.set_limit(file.limit().saturating_sub(start));
                files.drain(..index);
                return Ok(());
            }
            Found::Only(fewer) => left -= fewer,
        }
    }
    for file in files {
        file.get_mut().seek(SeekFrom::Start(0))?;
    }
    Ok(())
}

enum Found {
    /// The last lines begin here.
    Here(u64),
    /// The file has only so many.
    Only(u64),
}

/// Looks for the beginning of the last `lines` of a file, from its end.
fn last_lines(file: &mut Take<File>, lines: u64) -> io::Result<Found> {
    let limit = file.limit();
    let file = file.get_mut();
    let end = file.seek(SeekFrom::End(0))?.min(limit);
    if lines == 0 {
        return Ok(Found::Here(end));
    }
    let mut chunk = vec![0; CHUNK];
    let mut position = end;
    // Line ends seen from the end of the file. The last one belongs to the last line.
    let mut ends = 0;
    while position > 0 {
        let size = position.min(u64::try_from(CHUNK).unwrap_or(u64::MAX));
        position -= size;
        let part = chunk
            .get_mut(..usize::try_from(size).unwrap_or(CHUNK))
            .unwrap_or_default();
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(part)?;
        for (offset, byte) in part.iter().enumerate().rev() {
            if *byte != b'\n' {
                continue;
            }
            if ends == lines {
                let offset = u64::try_from(offset).unwrap_or(0);
                return Ok(Found::Here(position + offset + 1));
            }
            ends += 1;
        }
    }
    if ends == lines {
        Ok(Found::Here(0))
    } else {
        Ok(Found::Only(ends))
    }
}
