//! Files that are there whole or not at all, also after a power cut. Blocking: call from threads that may block.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Writes `content` to `path`, by way of a temporary file in `temporary`, which must be on the same file system.
///
/// # Guarantees
/// When this returns `Ok` the file survives a power cut.
pub fn write(temporary: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(temporary)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    settle(path, |path| {
        file.persist(path).map(drop).map_err(|error| error.error)
    })
}

/// Moves the file `from`, which is synced already, to `path`. Durable when it returns.
pub fn move_to(from: &Path, path: &Path) -> io::Result<()> {
    settle(path, |path| fs::rename(from, path))
}

/// Lets `place` put a file at `path` and makes the folders on the way, and the entry in the last of them, durable.
fn settle(path: &Path, place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let dir = path.parent().ok_or(ErrorKind::InvalidInput)?;
    make_dirs(dir)?;
    place(path)?;
    sync_dir(dir)
}

/// Makes a folder and those above it that are missing. Durable when it returns.
pub fn make_dirs(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        match fs::create_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a file durably. Says whether there was one.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    if let Some(dir) = path.parent() {
        sync_dir(dir)?;
    }
    Ok(true)
}

/// Reads a file of at most `limit` bytes, if it is there.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "the file is larger than it can be",
        ));
    }
    Ok(Some(content))
}

/// The names in a folder, sorted; none when there is no folder.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        // Every file here is named by this crate, in ASCII.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes everything in a folder.
pub fn clear(dir: &Path) -> io::Result<()> {
    for name in names(dir)? {
        let path: PathBuf = dir.join(name);
        if path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_whole_with_their_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        write(dir.path(), &path, b"one").unwrap();
        write(dir.path(), &path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"two");
        assert!(read(&path, 2).is_err());
        assert_eq!(
            names(dir.path()).unwrap(),
            ["a"],
            "no temporary file is left"
        );
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
        assert!(read(&path, 3).unwrap().is_none());
        assert!(names(&dir.path().join("nowhere")).unwrap().is_empty());
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(write(dir.path(), &path, b"x").is_err());
        assert_eq!(names(dir.path()).unwrap(), ["taken"]);
    }
}
