//! Blobs: content by digest, shared by all repositories, visible in those that have it.

use std::{fs, io::ErrorKind};

use coracle_api::image::Digest;
use tokio::fs::File;

use super::{Registry, Shared};
use crate::{error::RegistryError, files, route::Repository};

/// A blob that can be read.
#[derive(Debug)]
pub struct BlobFile {
    /// The content, from its beginning.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
}

impl Registry {
    /// The size of a blob of a repository.
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`], [`RegistryError::Io`].
    pub async fn blob_size(&self, name: &Repository, digest: Digest) -> Result<u64, RegistryError> {
        let name = name.clone();
        self.blocking(move |shared| {
            shared
                .blob_size(&name, &digest)?
                .ok_or(RegistryError::BlobUnknown)
        })
        .await
    }

    /// A blob of a repository.
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`], [`RegistryError::Io`].
    pub async fn blob(&self, name: &Repository, digest: Digest) -> Result<BlobFile, RegistryError> {
        let size = self.blob_size(name, digest).await?;
        match File::open(self.shared.layout.blob(&digest)).await {
            Ok(file) => Ok(BlobFile { file, size }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(RegistryError::BlobUnknown),
            Err(source) => Err(RegistryError::Io {
                doing: "open a blob",
                source,
            }),
        }
    }

    /// Takes a blob out of a repository. Its content stays until a sweep finds it in no other.
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`], [`RegistryError::Io`].
    pub async fn remove_blob(
        &self,
        name: &Repository,
        digest: Digest,
    ) -> Result<(), RegistryError> {
        let name = name.clone();
        self.blocking(move |shared| {
            let removed = files::remove(&shared.layout.layer(&name, &digest))
                .map_err(RegistryError::io("remove a blob"))?;
            if removed {
                Ok(())
            } else {
                Err(RegistryError::BlobUnknown)
            }
        })
        .await
    }

    /// Lets a repository have a blob that another has. Says whether that other has it.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub async fn mount(
        &self,
        name: &Repository,
        from: &Repository,
        digest: Digest,
    ) -> Result<bool, RegistryError> {
        let (name, from) = (name.clone(), from.clone());
        self.blocking(move |shared| {
            let _addition = shared.additions.read();
            if shared.blob_size(&from, &digest)?.is_none() {
                return Ok(false);
            }
            shared.link(&name, &digest)?;
            Ok(true)
        })
        .await
    }
}

impl Shared {
    /// The size of a blob, if the repository has it.
    pub(super) fn blob_size(
        &self,
        name: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, RegistryError> {
        if !self.layout.layer(name, digest).exists() {
            return Ok(None);
        }
        self.content_size(digest)
    }

    /// The size of content, whoever has it.
    pub(super) fn content_size(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        match fs::metadata(self.layout.blob(digest)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RegistryError::Io {
                doing: "look at a blob",
                source,
            }),
        }
    }

    /// Lets a repository have a blob. A link that is there already is made anew: a sweep spares what was linked lately.
    pub(super) fn link(&self, name: &Repository, digest: &Digest) -> Result<(), RegistryError> {
        let path = self.layout.layer(name, digest);
        files::write(&self.layout.uploads(), &path, b"").map_err(RegistryError::io("link a blob"))
    }
}
