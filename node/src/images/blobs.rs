//! Content on disk by digest, and the names it goes by. Everything is verified when it is read: a file that a power cut damaged counts as not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use coracle_api::image::Digest;

/// The file that says which name means which manifest.
const NAMES: &str = "names.json";

/// The content.
#[derive(Debug)]
pub(super) struct Blobs {
    root: PathBuf,
    limit: u64,
}

impl Blobs {
    pub(super) fn open(root: PathBuf, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(root.join("sha256"))?;
        Ok(Self { root, limit })
    }

    /// How many bytes of wasm may be kept that nobody uses.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("sha256").join(digest.hex())
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// What has this digest; nothing when it is not there or no longer what it was.
    pub(super) fn read(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(digest);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if Digest::of(&content) == *digest {
            return Ok(Some(content));
        }
        tracing::warn!(%digest, "an image on disk is damaged and is thrown away");
        fs::remove_file(&path)?;
        Ok(None)
    }

    /// Keeps content whose digest the caller has verified.
    pub(super) fn write(&self, digest: &Digest, content: &[u8]) -> io::Result<()> {
        if self.has(digest) {
            return Ok(());
        }
        replace(&self.root, &self.path(digest), content)
    }

    pub(super) fn names(&self) -> io::Result<BTreeMap<String, Digest>> {
        let text = match fs::read(self.root.join(NAMES)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        // Names can be had again; a damaged list of them is none.
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    }

    /// Keeps the names, and forgets content that no manifest with a name refers to.
    pub(super) fn write_names(&self, names: &BTreeMap<String, Digest>) -> io::Result<()> {
        let text = serde_json::to_vec(names)?;
        replace(&self.root, &self.root.join(NAMES), &text)?;
        let mut needed = BTreeSet::new();
        for manifest in names.values() {
            needed.insert(manifest.hex());
            if let Some(bytes) = self.read(manifest)?
                && let Ok(meaning) = super::meaning(&bytes, *manifest)
            {
                needed.insert(meaning.layer.digest.hex());
            }
        }
        for entry in fs::read_dir(self.root.join("sha256"))? {
            let entry = entry?;
            let is_needed = entry
                .file_name()
                .to_str()
                .is_some_and(|name| needed.contains(name));
            if !is_needed {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Writes a file whole or not at all, as far as this process' life goes; what a power cut leaves is found when it is read.
fn replace(root: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(root)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_content_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned(), 0).unwrap();
        let digest = Digest::of(b"content");
        assert_eq!(blobs.read(&digest).unwrap(), None);
        blobs.write(&digest, b"content").unwrap();
        assert_eq!(blobs.read(&digest).unwrap().unwrap(), b"content");
        fs::write(blobs.path(&digest), b"conten").unwrap();
        assert_eq!(blobs.read(&digest).unwrap(), None);
        assert!(!blobs.has(&digest));
        fs::write(folder.path().join(NAMES), b"{").unwrap();
        assert!(blobs.names().unwrap().is_empty());
    }

    #[test]
    fn content_without_a_name_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned(), 0).unwrap();
        let (named, nameless) = (Digest::of(b"named"), Digest::of(b"nameless"));
        blobs.write(&named, b"named").unwrap();
        blobs.write(&nameless, b"nameless").unwrap();
        let names = BTreeMap::from([("a:1".to_owned(), named)]);
        blobs.write_names(&names).unwrap();
        assert!(blobs.has(&named) && !blobs.has(&nameless));
        assert_eq!(blobs.names().unwrap(), names);
    }
}
