//! How secrets get to disk: folders only their owner may enter, files only their owner may read, whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::PkiError;

/// Only the owner may enter.
const PRIVATE_DIR: u32 = 0o700;
/// Only the owner may read and write.
const PRIVATE_FILE: u32 = 0o600;
/// Anybody may read.
const PUBLIC_FILE: u32 = 0o644;
/// The permission bits that let others in.
const OTHERS: u32 = 0o077;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Its owner only: keys, tokens, kubeconfigs.
    Owner,
    /// Everybody: certificates.
    Everyone,
}

/// Makes `dir` and what is missing above it, mode 0700. One that exists is closed to others.
///
/// # Errors
/// [`PkiError::Write`].
pub fn private_dir(dir: &Path) -> Result<(), PkiError> {
    let fail = |source| PkiError::Write {
        path: dir.to_owned(),
        source,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(dir)
        .map_err(fail)?;
    let mode = fs::metadata(dir).map_err(fail)?.permissions().mode();
    if mode & OTHERS != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(PRIVATE_DIR)).map_err(fail)?;
    }
    Ok(())
}

/// Writes a file so that its path holds the old content or the new, never a part, also after a power cut.
///
/// # Guarantees
/// When this returns `Ok` the content is on disk. It never was readable by others if it is for its owner only.
/// # Errors
/// [`PkiError::Write`]; the old content is still there.
pub fn write(path: &Path, content: &[u8], audience: Audience) -> Result<(), PkiError> {
    let temporary = beside(path)?;
    let mode = match audience {
        Audience::Owner => PRIVATE_FILE,
        Audience::Everyone => PUBLIC_FILE,
    };
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            match path.parent() {
                Some(dir) => File::open(dir)?.sync_all(),
                None => Ok(()),
            }
        });
    written.map_err(|source| {
        // What is left of the attempt is of no use; that it cannot be removed changes nothing about the error.
        let _ = fs::remove_file(&temporary);
        PkiError::Write {
            path: path.to_owned(),
            source,
        }
    })
}

/// A name nobody else uses in the folder of `path`.
fn beside(path: &Path) -> Result<PathBuf, PkiError> {
    let mut random = [0_u8; 8];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| PkiError::Random)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.tmp", u64::from_be_bytes(random)));
    Ok(path.with_file_name(name))
}

/// Reads a text file if it is there. What is for its owner only is refused when others may read it.
///
/// # Errors
/// [`PkiError::Read`], [`PkiError::Exposed`].
pub fn read(path: &Path, audience: Audience) -> Result<Option<String>, PkiError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(PkiError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    if audience == Audience::Owner {
        let metadata = fs::metadata(path).map_err(|source| PkiError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(PkiError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
    }
    Ok(Some(text))
}

/// Reads a certificate and its key if both are there.
///
/// # Errors
/// [`PkiError::Incomplete`] when only one is, and as [`read`].
pub fn read_pair(certificate: &Path, key: &Path) -> Result<Option<(String, String)>, PkiError> {
    let incomplete = |found: &Path, missing: &Path| PkiError::Incomplete {
        found: found.to_owned(),
        missing: missing.to_owned(),
    };
    match (
        read(certificate, Audience::Everyone)?,
        read(key, Audience::Owner)?,
    ) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(incomplete(certificate, key)),
        (None, Some(_)) => Err(incomplete(key, certificate)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_for_their_owner_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let pki = dir.path().join("a/pki");
        private_dir(&pki).unwrap();
        assert_eq!(mode(&pki), 0o700);
        write(&pki.join("k"), b"one", Audience::Owner).unwrap();
        write(&pki.join("k"), b"two", Audience::Owner).unwrap();
        write(&pki.join("c"), b"open", Audience::Everyone).unwrap();
        assert_eq!(mode(&pki.join("k")), 0o600);
        assert_eq!(
            read(&pki.join("k"), Audience::Owner).unwrap().unwrap(),
            "two"
        );
        assert_eq!(fs::read_dir(&pki).unwrap().count(), 2);
        assert!(
            read(&pki.join("nothing"), Audience::Owner)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn an_open_folder_is_closed_and_an_open_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), 0o700);
        let key = dir.path().join("k");
        fs::write(&key, "secret").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&key, Audience::Owner).unwrap_err();
        assert!(matches!(error, PkiError::Exposed { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 600"));
    }

    #[test]
    fn half_a_pair_is_an_error_and_a_failed_write_leaves_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("c"), dir.path().join("k"));
        assert!(read_pair(&certificate, &key).unwrap().is_none());
        write(&certificate, b"c", Audience::Everyone).unwrap();
        let error = read_pair(&certificate, &key).unwrap_err();
        assert!(matches!(&error, PkiError::Incomplete { missing, .. } if *missing == key));
        fs::create_dir(dir.path().join("taken")).unwrap();
        fs::write(dir.path().join("taken/x"), "").unwrap();
        assert!(write(&dir.path().join("taken"), b"x", Audience::Owner).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
