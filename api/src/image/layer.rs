//! A layer and the wasm in it: as it is, or the only `.wasm` file of a tar archive, compressed or not. Unpacks in memory, within a limit, and never to a path.

use std::{borrow::Cow, io::Read as _};

use super::{Descriptor, Digest, ImageError, media};

/// The annotation that says what a layer's file is called.
const TITLE: &str = "org.opencontainers.image.title";
/// A tar archive's unit.
const BLOCK: usize = 512;
/// How many names an error lists.
const LISTED: usize = 5;
/// The longest name of a file in an archive.
const NAME_LIMIT: usize = 4096;

/// The layer that holds the wasm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How the wasm is in it.
    pub form: Form,
}

/// How wasm is in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The layer is the wasm.
    Wasm,
    /// A tar archive with one `.wasm` file.
    Tar,
    /// The same, compressed by gzip.
    TarGzip,
}

/// What kind of wasm something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WasmKind {
    /// A core module (WASI preview 1).
    Module,
    /// A component (WASI 0.2 and later).
    Component,
}

impl WasmKind {
    /// The kind, by the first eight bytes (core specification, "Modules"; component model, "Binary Format").
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.get(..8)? {
            [0, b'a', b's', b'm', 1, 0, 0, 0] => Some(Self::Module),
            [0, b'a', b's', b'm', _, 0, 1, 0] => Some(Self::Component),
            _ => None,
        }
    }
}

impl Form {
    /// How wasm may be in the layer, by its media type and title.
    #[must_use]
    pub fn of(layer: &Descriptor) -> Option<Self> {
        let title = layer.annotations.as_ref().and_then(|all| all.get(TITLE));
        match layer.media_type.as_str() {
            media::WASM | media::WASM_CONTENT => Some(Self::Wasm),
            "application/vnd.oci.image.layer.v1.tar" | "application/x-tar" | "application/tar" => {
                Some(Self::Tar)
            }
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/gzip"
            | "application/x-gzip" => Some(Self::TarGzip),
            _ if title.is_some_and(|title| title.ends_with(".wasm")) => Some(Self::Wasm),
            _ => None,
        }
    }
}

impl Layer {
    pub(super) fn new(descriptor: &Descriptor, form: Form) -> Self {
        Self {
            digest: descriptor.digest,
            size: descriptor.size,
            form,
        }
    }

    /// Takes the wasm out of the layer's content, which the caller has verified against the digest. Neither the archive nor the wasm may be larger than
    /// `limit` bytes.
    ///
    /// # Errors
    /// [`ImageError::Layer`], [`ImageError::NoWasm`], [`ImageError::Several`], [`ImageError::TooLarge`].
    pub fn unpack<'a>(&self, content: &'a [u8], limit: usize) -> Result<Cow<'a, [u8]>, ImageError> {
        let wasm = match self.form {
            Form::Wasm => Cow::Borrowed(content),
            Form::Tar => Cow::Borrowed(wasm_in(content)?),
            Form::TarGzip => Cow::Owned(wasm_in(&inflate(content, limit)?)?.to_vec()),
        };
        if wasm.len() > limit {
            return Err(ImageError::TooLarge {
                what: "the wasm",
                limit,
            });
        }
        Ok(wasm)
    }
}

fn inflate(content: &[u8], limit: usize) -> Result<Vec<u8>, ImageError> {
    let mut archive = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(content)
        .take(most)
        .read_to_end(&mut archive)
        .map_err(|error| ImageError::Layer(error.to_string()))?;
    if archive.len() > limit {
        return Err(ImageError::TooLarge {
            what: "the unpacked layer",
            limit,
        });
    }
    Ok(archive)
}

/// The content of the only `.wasm` file in a tar archive (POSIX ustar and pax, GNU long names).
fn wasm_in(archive: &[u8]) -> Result<&[u8], ImageError> {
    let mut rest = archive;
    let mut name_of_next: Option<String> = None;
    let mut found: Vec<(String, &[u8])> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let entry = Entry::parse(header)?;
        let padded = entry
            .size
            .checked_next_multiple_of(BLOCK)
            .unwrap_or(usize::MAX);
        let content = after
            .get(..entry.size)
            .ok_or_else(|| broken("it ends within a file"))?;
        rest = after.get(padded..).unwrap_or_default();
        match entry.kind {
            b'L' => name_of_next = Some(text(content)?),
            b'x' => name_of_next = pax_path(content)?.or(name_of_next),
            b'g' | b'K' => {}
            kind => {
                let name = name_of_next.take().unwrap_or(entry.name);
                if matches!(kind, b'0' | 0) && name.ends_with(".wasm") {
                    found.push((name, content));
                } else if others.len() < LISTED {
                    others.push(name);
                }
            }
        }
    }
    match found.as_slice() {
        [(_, content)] => Ok(content),
        [] if others.is_empty() => Err(ImageError::NoWasm(
            "the layer's archive is empty".to_owned(),
        )),
        [] => Err(ImageError::NoWasm(format!(
            "the layer's archive has {}",
            others.join(", ")
        ))),
        several => {
            let names = several.iter().take(LISTED).map(|(name, _)| name.as_str());
            Err(ImageError::Several(names.collect::<Vec<_>>().join(", ")))
        }
    }
}

fn broken(why: &str) -> ImageError {
    ImageError::Layer(format!("the archive is damaged: {why}"))
}

/// A name in an archive, up to its terminating zero.
fn text(bytes: &[u8]) -> Result<String, ImageError> {
    if bytes.len() > NAME_LIMIT {
        return Err(broken("a name is too long"));
    }
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let name = bytes.get(..end).unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// The header of a file in an archive.
struct Entry {
    name: String,
    size: usize,
    kind: u8,
}

impl Entry {
    fn parse(header: &[u8]) -> Result<Self, ImageError> {
        let field =
            |from: usize, length: usize| header.get(from..from + length).unwrap_or_default();
        let checksum = number(field(148, 8))?;
        let sum: usize = header
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                if (148..156).contains(&at) {
                    usize::from(b' ')
                } else {
                    usize::from(*byte)
                }
            })
            .sum();
        if sum != checksum {
            return Err(broken("a checksum is wrong"));
        }
        let name = text(field(0, 100))?;
        let prefix = if field(257, 5) == b"ustar" {
            text(field(345, 155))?
        } else {
            String::new()
        };
        Ok(Self {
            name: if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            },
            size: number(field(124, 12))?,
            kind: field(156, 1).first().copied().unwrap_or_default(),
        })
    }
}

/// A number: octal digits, or base 256 when the first bit is set (GNU, for large ones).
fn number(field: &[u8]) -> Result<usize, ImageError> {
    let wrong = || broken("a number is none");
    if let Some((first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        let start = usize::from(first & 0x7f);
        return rest
            .iter()
            .try_fold(start, |value, byte| {
                value.checked_mul(256)?.checked_add(usize::from(*byte))
            })
            .ok_or_else(wrong);
    }
    let digits: Vec<u8> = field
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b' ' | 0))
        .collect();
    digits
        .iter()
        .try_fold(0_usize, |value, digit| match digit {
            b'0'..=b'7' => value.checked_mul(8)?.checked_add(usize::from(digit - b'0')),
            _ => None,
        })
        .ok_or_else(wrong)
}

/// The path in a pax header's records: `LENGTH path=VALUE\n`.
fn pax_path(records: &[u8]) -> Result<Option<String>, ImageError> {
    let mut rest = records;
    let mut path = None;
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let digits = rest.get(..space).unwrap_or_default();
        let length: usize = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .filter(|length| *length > space + 1)
            .ok_or_else(|| broken("a pax record has no length"))?;
        let record = rest
            .get(space + 1..length)
            .ok_or_else(|| broken("a pax record is cut off"))?;
        if let Some(value) = record.strip_prefix(b"path=") {
            path = Some(text(value.strip_suffix(b"\n").unwrap_or(value))?);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(path)
}
