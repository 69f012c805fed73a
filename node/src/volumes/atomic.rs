//! Writes the files of a volume so that a reader sees all of one version or all of another (upstream: the kubelet's `AtomicWriter`): each version has a
//! directory of its own, `..data` is a link to the present one, and the visible names are links through `..data`.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::Path,
};

use super::payload::{File, Payload, is_inner};

/// The link to the present version.
const DATA: &str = "..data";
/// What becomes it.
const NEXT: &str = "..data_tmp";

/// Makes `payload` the content of the volume at `directory`. `version` names it, and must not be used twice for one volume.
///
/// # Guarantees
/// A reader that follows a visible name finds a complete file of the old or the new version. Nothing outside of `directory` is touched.
///
/// # Errors
/// What the file system says. The old version then still is the present one, or the new one is complete.
pub(super) fn write(directory: &Path, payload: &Payload, version: &str) -> io::Result<()> {
    make_private(directory)?;
    let name = format!("..{version}");
    let target = directory.join(&name);
    make_private(&target)?;
    for (path, file) in payload {
        if !is_inner(path) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{path:?} leaves the volume"),
            ));
        }
        write_file(&target, path, file)?;
    }
    let old = fs::read_link(directory.join(DATA)).ok();
    let visible: BTreeSet<&str> = payload
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    let next = directory.join(NEXT);
    match fs::remove_file(&next) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(&name, &next)?;
    fs::rename(&next, directory.join(DATA))?;
    for name in &visible {
        let link = directory.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    // What the new version has not is taken away, old versions last.
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let known = entry.file_name();
        let Some(known) = known.to_str() else {
            continue;
        };
        if !known.starts_with("..") && !visible.contains(known) {
            fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old.filter(|old| old.as_os_str() != name.as_str()) {
        remove(&directory.join(old))?;
    }
    Ok(())
}

fn write_file(root: &Path, path: &str, file: &File) -> io::Result<()> {
    let full = root.join(path);
    if let Some(parent) = full.parent() {
        make_private(parent)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut opened = options.open(&full)?;
    io::Write::write_all(&mut opened, &file.bytes)?;
    // After writing: the mode may take the right to write away.
    opened.set_permissions(fs::Permissions::from_mode(file.mode))
}

/// A directory that nobody but the agent's user can enter, parents included.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// Removes a directory that may be gone already.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let one = |(path, text): &(&str, &str)| {
            (
                (*path).to_owned(),
                File {
                    bytes: text.as_bytes().to_vec(),
                    mode: 0o440,
                },
            )
        };
        files.iter().map(one).collect()
    }

    fn visible(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with("..")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_version_replaces_the_old_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("v");
        write(&volume, &payload(&[("a", "1"), ("deep/b", "2")]), "1").unwrap();
        assert_eq!(fs::read_to_string(volume.join("deep/b")).unwrap(), "2");
        assert_eq!(visible(&volume), ["a", "deep"]);
        let held = fs::File::open(volume.join("a")).unwrap();
        write(&volume, &payload(&[("a", "one"), ("c", "3")]), "2").unwrap();
        assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "one");
        assert_eq!(
            io::read_to_string(held).unwrap(),
            "1",
            "who had it open keeps it"
        );
        assert_eq!(visible(&volume), ["a", "c"]);
        assert!(!volume.join("..1").exists());
        let mode = fs::metadata(volume.join("c")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o440);
        assert_eq!(
            fs::metadata(&volume).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn nothing_is_written_outside() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("v");
        for path in ["../x", "/tmp/x", "a/../../x"] {
            assert!(write(&volume, &payload(&[(path, "1")]), "1").is_err());
            remove(&volume).unwrap();
        }
        assert!(!folder.path().join("x").exists());
    }
}
