//! Files that only their owner may read: kubeconfigs hold keys.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Writes `text` to `path` so that a reader sees the old file or the new one, never half of it, and nobody else can read it.
///
/// # Errors
/// What the file system says.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = Aside::create(path)?;
    file.write_all(text.as_bytes())?;
    file.finish()
}

/// A private file being written beside the one it is to become. Unless it is finished, it goes when dropped.
pub(crate) struct Aside {
    file: fs::File,
    aside: PathBuf,
    path: PathBuf,
}

impl Aside {
    /// Begins a file that is to become `path`.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let aside = path.with_file_name(name);
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        Ok(Self {
            file,
            aside,
            path: path.to_owned(),
        })
    }

    /// Where what is written so far can be read.
    pub(crate) fn unfinished(&self) -> &Path {
        &self.aside
    }

    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// What the file system says; the file of that name is then as it was.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.aside, &self.path)
    }
}

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Finished, it has another name by now.
        match fs::remove_file(&self.aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.aside.display(), %error, "a half-written file stays");
            }
            _ => {}
        }
    }
}
