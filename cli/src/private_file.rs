//! Files that only their owner may read: kubeconfigs hold keys.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Writes `text` to `path` so that a reader sees the old file or the new one, never half of it, and nobody else can read it.
///
/// # Errors
/// What the file system says.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(aside, path)
}
