//! Where everything lies in the registry's folder:
//!
//! ```text
//! blobs/sha256/<first two digits>/<digest>            content, of layers, configurations and manifests
//! uploads/<id>                                        content that is not complete
//! repositories/<name>/_layers/<digest>                the repository has this blob (empty file)
//! repositories/<name>/_manifests/<digest>             ... this manifest: its media type
//! repositories/<name>/_tags/<tag>                     the digest of the manifest with this tag
//! repositories/<name>/_referrers/<subject>/<digest>   this manifest is about that one (empty file)
//! ```
//!
//! Components of names begin with a letter or digit, so the folders that begin with an underscore are nobody's repository.

use std::path::{Path, PathBuf};

use coracle_api::image::Digest;
use uuid::Uuid;

use crate::route::Repository;

/// The folder.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let (first, _) = hex.split_at(2);
        self.blobs().join(first).join(&hex)
    }

    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub fn upload(&self, id: &Uuid) -> PathBuf {
        self.uploads().join(id.to_string())
    }

    pub fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    fn repository(&self, name: &Repository) -> PathBuf {
        self.repositories().join(name.as_str())
    }

    pub fn layers(&self, name: &Repository) -> PathBuf {
        self.repository(name).join("_layers")
    }

    pub fn layer(&self, name: &Repository, digest: &Digest) -> PathBuf {
        self.layers(name).join(digest.hex())
    }

    pub fn manifests(&self, name: &Repository) -> PathBuf {
        self.repository(name).join("_manifests")
    }

    pub fn manifest(&self, name: &Repository, digest: &Digest) -> PathBuf {
        self.manifests(name).join(digest.hex())
    }

    pub fn tags(&self, name: &Repository) -> PathBuf {
        self.repository(name).join("_tags")
    }

    pub fn tag(&self, name: &Repository, tag: &str) -> PathBuf {
        self.tags(name).join(tag)
    }

    pub fn referrers(&self, name: &Repository, subject: &Digest) -> PathBuf {
        self.repository(name).join("_referrers").join(subject.hex())
    }

    pub fn referrer(&self, name: &Repository, subject: &Digest, digest: &Digest) -> PathBuf {
        self.referrers(name, subject).join(digest.hex())
    }
}
