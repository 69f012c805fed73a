//! The file that says a folder holds a store, and in which form. It is written last when a store is made: a folder without it holds at most the
//! beginnings of one.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::segment;
use crate::error::StoreError;

/// The form this version writes. 1 was a development version's and is not read.
pub(super) const VERSION: u32 = 2;
const NAME: &str = "format";
const INTRODUCTION: &str = "coracle-store";

/// What there is in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A store in a form this version reads.
    Store,
    /// Nothing, or what is left of making a store that was cut short.
    Nothing,
}

/// Looks.
///
/// # Errors
/// `Unsupported` for a form this version does not know; `Corrupt` when there is a store's log without the file, or the file is not readable.
pub(super) fn look(folder: &Path) -> Result<Found, StoreError> {
    let path = folder.join(NAME);
    let corrupt = |reason: String| StoreError::Corrupt { reason };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if is_begun(folder)? {
                Err(corrupt(format!(
                    "{} is gone, or the store was written by a development version of coracle",
                    path.display()
                )))
            } else {
                Ok(Found::Nothing)
            };
        }
        Err(error) => return Err(unavailable(&path, &error)),
    };
    let version = std::str::from_utf8(&text).ok().and_then(|text| {
        let (introduction, version) = text.trim_end().split_once(' ')?;
        let number: u32 = version.parse().ok()?;
        (introduction == INTRODUCTION && text == line(number)).then_some(number)
    });
    match version {
        Some(VERSION) => Ok(Found::Store),
        Some(version) => Err(StoreError::Unsupported {
            reason: format!(
                "{} is in format {version}, this version of coracle reads format {VERSION}: run the version of coracle that wrote it, or a newer one",
                folder.display()
            ),
        }),
        None => Err(corrupt(format!("{} is damaged", path.display()))),
    }
}

/// Whether there is a log in which something happened.
fn is_begun(folder: &Path) -> Result<bool, StoreError> {
    let log = folder.join("log");
    let segments = match segment::list(&log) {
        Ok(segments) => segments,
        Err(error) => return Err(unavailable(&log, &error)),
    };
    // Made before the file is, and empty then.
    match segments.as_slice() {
        [] => Ok(false),
        [first] => Ok(!segment::read(first).is_ok_and(|contents| contents.is_fresh())),
        _ => Ok(true),
    }
}

/// Says that the store is complete.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    let aside = folder.join("new-format");
    let mut file = File::create(&aside)?;
    file.write_all(line(VERSION).as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, folder.join(NAME))?;
    segment::sync_folder(folder)
}

fn line(version: u32) -> String {
    format!("{INTRODUCTION} {version}\n")
}

fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable {
        reason: format!("read {}: {error}", path.display()),
    }
}
