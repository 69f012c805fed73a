//! `tar`: what `kubectl cp` needs of it both ways, in the formats that its own side writes and reads (ustar, with pax and GNU records for long names). Names
//! that would leave the target are refused.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{Done, Failure, Job, files, told};
use crate::streams::{Input, Output, PIECE};

const BLOCK: usize = 512;
/// The longest record of names taken.
const RECORD_BYTES: u64 = 64 << 10;

/// What is asked for.
#[derive(Default)]
struct Asked {
    creates: bool,
    extracts: bool,
    lists: bool,
    is_verbose: bool,
    keeps_times: bool,
    archive: Option<String>,
    folder: Option<String>,
    strip: usize,
    names: Vec<String>,
}

impl Asked {
    fn of(args: &[String]) -> Result<Self, Failure> {
        let mut asked = Self {
            keeps_times: true,
            ..Self::default()
        };
        let mut args = args.iter().enumerate();
        while let Some((index, arg)) = args.next() {
            if let Some(option) = arg.strip_prefix("--") {
                match option.split_once('=') {
                    Some(("directory", folder)) => asked.folder = Some(folder.to_owned()),
                    Some(("strip-components", number)) => {
                        asked.strip = number
                            .parse()
                            .map_err(|_| format!("invalid number {number:?}"))?;
                    }
                    // Owners and permissions are nobody's here.
                    _ if option.starts_with("no-same-") || option == "numeric-owner" => {}
                    _ => return Err(format!("unknown option {arg}").into()),
                }
                continue;
            }
            let letters = match arg.strip_prefix('-') {
                Some(letters) if !letters.is_empty() => letters,
                // The first word may do without a dash.
                None if index == 0 => arg,
                _ => {
                    asked.names.push(arg.clone());
                    continue;
                }
            };
            for letter in letters.chars() {
                let mut value = || {
                    args.next()
                        .map(|(_, value)| value.clone())
                        .ok_or("needs a value")
                };
                match letter {
                    'c' => asked.creates = true,
                    'x' => asked.extracts = true,
                    't' => asked.lists = true,
                    'v' => asked.is_verbose = true,
                    'm' => asked.keeps_times = false,
                    'f' => asked.archive = Some(value()?),
                    'C' => asked.folder = Some(value()?),
                    'p' | 'o' | 'h' => {}
                    other => return Err(format!("unknown option -{other}").into()),
                }
            }
        }
        if [asked.creates, asked.extracts, asked.lists]
            .iter()
            .filter(|is| **is)
            .count()
            != 1
        {
            return Err("needs one of -c, -x and -t".into());
        }
        Ok(asked)
    }
}

pub async fn tar(job: &mut Job<'_>) -> Done {
    let asked = Asked::of(job.rest())?;
    let mut inner = job.shell.clone();
    if let Some(folder) = &asked.folder {
        inner
            .go(folder)
            .map_err(|error| format!("{folder}: {}", told(&error)))?;
    }
    let archive = asked.archive.as_deref().filter(|name| *name != "-");
    if asked.creates {
        let out = match archive {
            None => job.out.clone(),
            Some(name) => {
                let made = File::create(job.shell.path(name));
                Output::File(
                    made.map_err(|error| format!("{name}: {}", told(&error)))?
                        .into(),
                )
            }
        };
        let mut code = 0;
        for name in &asked.names {
            let path = inner.path(name);
            if !files::exists(&path) {
                job.complain(&format!("{name}: No such file or directory"))
                    .await?;
                code = 1;
                continue;
            }
            // Names in archives are relative.
            let entry = name.trim_start_matches('/').to_owned();
            let entry = if entry.is_empty() {
                ".".to_owned()
            } else {
                entry
            };
            pack(job, &out, &path, entry, asked.is_verbose).await?;
        }
        out.write(&[0; 2 * BLOCK]).await?;
        return Ok(code);
    }
    let input = match archive {
        None => job.take_stdin(),
        Some(name) => job.open(name)?,
    };
    let target = inner.path(".");
    unpack(
        job,
        Blocks {
            input,
            rest: Vec::new(),
        },
        &target,
        &asked,
    )
    .await?;
    Ok(0)
}

/// Writes a file, or a directory with what is in it.
async fn pack(
    job: &Job<'_>,
    out: &Output,
    path: &Path,
    name: String,
    is_verbose: bool,
) -> Result<(), Failure> {
    let mut waiting = vec![(path.to_owned(), name)];
    while let Some((path, name)) = waiting.pop() {
        let on = |error: io::Error| Failure::Says(format!("{name}: {}", told(&error)));
        if is_verbose {
            job.err.write(format!("{name}\n").as_bytes()).await?;
        }
        let metadata = fs::symlink_metadata(&path).ok();
        let modified = metadata
            .as_ref()
            .and_then(|metadata| metadata.modified().ok());
        let time = modified
            .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
            .unwrap_or_default();
        if files::is_folder(&path) && !path.is_symlink() {
            out.write(&header(
                &format!("{}/", name.trim_end_matches('/')),
                b'5',
                0,
                time,
                "",
            ))
            .await?;
            let mut names = files::names(&path).map_err(on)?;
            names.reverse();
            waiting.extend(names.iter().map(|inner| {
                (
                    path.join(inner),
                    format!("{}/{inner}", name.trim_end_matches('/')),
                )
            }));
        } else if path.is_symlink() {
            let to = fs::read_link(&path).map_err(on)?;
            out.write(&header(&name, b'2', 0, time, &to.to_string_lossy()))
                .await?;
        } else {
            let mut file = File::open(&path).map_err(on)?;
            // Not more than was there when it began: a file may grow meanwhile.
            let size = file.metadata().map_err(on)?.len();
            out.write(&header(&name, b'0', size, time, "")).await?;
            let mut left = size;
            let mut piece = vec![0; PIECE];
            while left > 0 {
                let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let read = file.read(&mut piece[..wanted]).map_err(on)?;
                if read == 0 {
                    // And may shrink: what is missing is zeros.
                    piece[..wanted].fill(0);
                }
                let length = if read == 0 { wanted } else { read };
                out.write(&piece[..length]).await?;
                left -= length as u64;
            }
            out.write(&vec![0; padding(size)]).await?;
        }
    }
    Ok(())
}

/// The bytes from the end of a file to the next block.
fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// The head of an entry, after a record with its name where that is long.
fn header(name: &str, kind: u8, size: u64, time: Duration, link: &str) -> Vec<u8> {
    let mut made = Vec::new();
    for (long, record) in [(name, b'L'), (link, b'K')] {
        if long.len() > 100 {
            let size = long.len() as u64 + 1;
            made.extend(block("././@LongLink", record, size, Duration::ZERO, ""));
            made.extend(long.as_bytes());
            made.extend(vec![0; 1 + padding(size)]);
        }
    }
    made.extend(block(name, kind, size, time, link));
    made
}

fn block(name: &str, kind: u8, size: u64, time: Duration, link: &str) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, length: usize, text: &str| {
        let bytes = &text.as_bytes()[..text.len().min(length)];
        block[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let mode = if kind == b'5' { "0000755" } else { "0000644" };
    put(0, 100, name);
    put(100, 8, mode);
    put(108, 8, "0000000");
    put(116, 8, "0000000");
    put(124, 12, &format!("{size:011o}"));
    put(136, 12, &format!("{:011o}", time.as_secs()));
    put(148, 8, "        ");
    put(156, 1, &char::from(kind).to_string());
    put(157, 100, link);
    put(257, 8, "ustar  ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// An archive, read in blocks.
struct Blocks {
    input: Input,
    rest: Vec<u8>,
}

impl Blocks {
    /// At most `limit` bytes; none at the end.
    async fn some(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        if self.rest.is_empty() {
            self.rest = self.input.read().await?;
        }
        let rest = self.rest.split_off(limit.min(self.rest.len()));
        Ok(std::mem::replace(&mut self.rest, rest))
    }

    async fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.some(BLOCK - filled).await?;
            if bytes.is_empty() {
                let cut = filled > 0;
                return if cut {
                    Err(io::ErrorKind::UnexpectedEof.into())
                } else {
                    Ok(None)
                };
            }
            block[filled..filled + bytes.len()].copy_from_slice(&bytes);
            filled += bytes.len();
        }
        Ok(Some(block))
    }

    /// Hands on the contents of an entry, padding taken away.
    async fn contents(
        &mut self,
        size: u64,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let bytes = self
                .some(usize::try_from(left).unwrap_or(usize::MAX))
                .await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= bytes.len() as u64;
            take(&bytes)?;
        }
        let mut pad = padding(size);
        while pad > 0 {
            let bytes = self.some(pad).await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            pad -= bytes.len();
        }
        Ok(())
    }

    async fn record(&mut self, size: u64) -> Result<Vec<u8>, Failure> {
        if size > RECORD_BYTES {
            return Err("a record is too long".into());
        }
        let mut record = Vec::new();
        self.contents(size, |bytes| {
            record.extend_from_slice(bytes);
            Ok(())
        })
        .await?;
        Ok(record)
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn octal(bytes: &[u8]) -> Result<u64, Failure> {
    // Large sizes are binary, with the highest bit set (GNU).
    if let [first, rest @ ..] = bytes
        && first & 0x80 != 0
    {
        let number = rest.iter().fold(u64::from(first & 0x7f), |sum, byte| {
            (sum << 8) | u64::from(*byte)
        });
        return Ok(number);
    }
    let text = text(bytes);
    let digits = text.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| "this does not look like a tar archive".into())
}

/// The value of a key in a pax record: lines of `length key=value`.
fn pax(record: &[u8], key: &str) -> Option<String> {
    let mut rest = record;
    let mut found = None;
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let line = rest.get(space + 1..length.checked_sub(1)?)?;
        let line = String::from_utf8_lossy(line);
        if let Some((name, value)) = line.split_once('=')
            && name == key
        {
            found = Some(value.to_owned());
        }
        rest = rest.get(length..)?;
    }
    found
}

async fn unpack(
    job: &Job<'_>,
    mut blocks: Blocks,
    target: &Path,
    asked: &Asked,
) -> Result<(), Failure> {
    let (mut long_name, mut long_link, mut long_size) = (None, None, None);
    while let Some(block) = blocks.block().await? {
        if block.iter().all(|byte| *byte == 0) {
            // The end; what fills the archive up is read and dropped.
            while !blocks.some(PIECE).await?.is_empty() {}
            return Ok(());
        }
        let sum = block
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                u64::from(if (148..156).contains(&at) {
                    b' '
                } else {
                    *byte
                })
            })
            .sum::<u64>();
        if octal(&block[148..156])? != sum {
            return Err("this does not look like a tar archive".into());
        }
        let size = octal(&block[124..136])?;
        let kind = block[156];
        match kind {
            b'L' => {
                long_name = Some(text(&blocks.record(size).await?));
                continue;
            }
            b'K' => {
                long_link = Some(text(&blocks.record(size).await?));
                continue;
            }
            b'x' => {
                let record = blocks.record(size).await?;
                long_name = pax(&record, "path").or(long_name);
                long_link = pax(&record, "linkpath").or(long_link);
                long_size = pax(&record, "size").and_then(|size| size.parse().ok());
                continue;
            }
            b'g' => {
                blocks.record(size).await?;
                continue;
            }
            _ => {}
        }
        let size = long_size.take().unwrap_or(size);
        let prefix = text(&block[345..500]);
        let short = text(&block[..100]);
        let is_ustar = &block[257..263] == b"ustar\0";
        let short = if is_ustar && !prefix.is_empty() {
            format!("{prefix}/{short}")
        } else {
            short
        };
        let name = long_name.take().unwrap_or(short);
        let link = long_link.take().unwrap_or_else(|| text(&block[157..257]));
        let parts = Path::new(&name)
            .components()
            .filter(|part| !matches!(part, Component::CurDir | Component::RootDir));
        let inside: PathBuf = parts.skip(asked.strip).collect();
        if inside
            .components()
            .any(|part| !matches!(part, Component::Normal(_)))
        {
            return Err(format!("{name}: would be outside").into());
        }
        let wanted = asked.names.is_empty()
            || asked
                .names
                .iter()
                .any(|wanted| inside.starts_with(wanted.trim_matches('/')));
        if asked.lists || asked.is_verbose {
            job.out.write(format!("{name}\n").as_bytes()).await?;
        }
        if asked.lists || !wanted {
            blocks.contents(size, |_| Ok(())).await?;
            continue;
        }
        let path = target.join(&inside);
        let on = |error: io::Error| Failure::Says(format!("{name}: {}", told(&error)));
        if let Some(parent) = path.parent().filter(|parent| !files::is_folder(parent)) {
            fs::create_dir_all(parent).map_err(on)?;
        }
        match kind {
            b'5' => {
                if !files::is_folder(&path) {
                    fs::create_dir_all(&path).map_err(on)?;
                }
                blocks.contents(size, |_| Ok(())).await?;
            }
            b'2' | b'1' => {
                blocks.contents(size, |_| Ok(())).await?;
                let says = format!("{name}: link to {link} skipped");
                job.complain(&says).await?;
            }
            b'0' | 0 | b'7' => {
                // Not through a link that is there already.
                if path.is_symlink() {
                    fs::remove_file(&path).map_err(on)?;
                }
                let mut file = File::create(&path).map_err(on)?;
                blocks
                    .contents(size, |bytes| file.write_all(bytes))
                    .await
                    .map_err(on)?;
                if asked.keeps_times {
                    let time =
                        SystemTime::UNIX_EPOCH + Duration::from_secs(octal(&block[136..148])?);
                    file.set_modified(time).map_err(on)?;
                }
            }
            // Devices and the like.
            _ => blocks.contents(size, |_| Ok(())).await?,
        }
    }
    Ok(())
}
