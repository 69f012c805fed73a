//! Manifests, their tags, and which manifests are about others. A manifest is a blob whose media type the repository remembers.

use coracle_api::image::{Descriptor, Digest, Manifest};
use serde::{Deserialize, Serialize};

use super::{Registry, Shared};
use crate::{
    error::RegistryError,
    files,
    route::{Reference, Repository},
};

/// The largest of the small files that say something about a manifest or tag.
const NOTE_BYTES: u64 = 1024;

/// What a repository remembers of a manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    media_type: String,
}

/// A manifest as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The part.
    pub items: Vec<T>,
    /// The last item's name, when more follow.
    pub next: Option<String>,
}

impl Registry {
    /// A manifest of a repository.
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`], [`RegistryError::Io`].
    pub async fn manifest(
        &self,
        name: &Repository,
        reference: &Reference,
    ) -> Result<Stored, RegistryError> {
        let (name, reference) = (name.clone(), reference.clone());
        self.blocking(move |shared| {
            let digest = shared
                .resolve(&name, &reference)?
                .ok_or(RegistryError::ManifestUnknown)?;
            shared
                .manifest(&name, &digest)?
                .ok_or(RegistryError::ManifestUnknown)
        })
        .await
    }

    /// Puts a manifest into a repository, and a tag on it if `reference` is one. `media_type` is what it was sent as. Answers the digest and what the manifest
    /// is about, if anything.
    ///
    /// # Guarantees
    /// When this returns `Ok` the manifest, and everything it refers to, is on disk.
    /// # Errors
    /// [`RegistryError::Manifest`], [`RegistryError::ManifestBlobUnknown`], [`RegistryError::DigestMismatch`], [`RegistryError::Io`].
    pub async fn put_manifest(
        &self,
        name: &Repository,
        reference: &Reference,
        media_type: Option<&str>,
        bytes: Vec<u8>,
    ) -> Result<(Digest, Option<Digest>), RegistryError> {
        let digest = Digest::of(&bytes);
        if let Reference::Digest(wanted) = reference
            && *wanted != digest
        {
            return Err(RegistryError::DigestMismatch(digest));
        }
        let manifest =
            Manifest::parse(&bytes).map_err(|error| RegistryError::Manifest(error.to_string()))?;
        let media_type = media_type_of(&manifest, media_type)?;
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let (name, reference) = (name.clone(), reference.clone());
        self.blocking(move |shared| {
            let _addition = shared.additions.read();
            let _change = shared.changes.lock();
            shared.check_parts(&name, &manifest)?;
            let stored = Stored {
                digest,
                media_type,
                bytes,
            };
            shared.put_manifest(&name, &stored, subject.as_ref())?;
            if let Reference::Tag(tag) = &reference {
                shared.put(
                    &shared.layout.tag(&name, tag),
                    digest.to_string().as_bytes(),
                )?;
            }
            Ok(())
        })
        .await?;
        Ok((digest, subject))
    }

    /// Removes a tag, or a manifest with all its tags.
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`], [`RegistryError::Io`].
    pub async fn remove_manifest(
        &self,
        name: &Repository,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        let (name, reference) = (name.clone(), reference.clone());
        self.blocking(move |shared| {
            let _change = shared.changes.lock();
            let removed = match &reference {
                Reference::Tag(tag) => files::remove(&shared.layout.tag(&name, tag))
                    .map_err(RegistryError::io("remove a tag"))?,
                Reference::Digest(digest) => shared.remove_manifest(&name, digest)?,
            };
            if removed {
                Ok(())
            } else {
                Err(RegistryError::ManifestUnknown)
            }
        })
        .await
    }

    /// The tags of a repository after `last`, sorted, at most `n`.
    ///
    /// # Errors
    /// [`RegistryError::NameUnknown`], [`RegistryError::Io`].
    pub async fn tags(
        &self,
        name: &Repository,
        n: Option<usize>,
        last: Option<String>,
    ) -> Result<Page<String>, RegistryError> {
        let name = name.clone();
        self.blocking(move |shared| {
            if !shared.layout.manifests(&name).exists() && !shared.layout.layers(&name).exists() {
                return Err(RegistryError::NameUnknown);
            }
            let tags =
                files::names(&shared.layout.tags(&name)).map_err(RegistryError::io("list tags"))?;
            Ok(shared.page(tags, n, last.as_deref()))
        })
        .await
    }

    /// The repositories after `last`, sorted, at most `n`.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub async fn repositories(
        &self,
        n: Option<usize>,
        last: Option<String>,
    ) -> Result<Page<String>, RegistryError> {
        self.blocking(move |shared| {
            let names = shared.repositories()?;
            let names = names.iter().map(|name| name.as_str().to_owned()).collect();
            Ok(shared.page(names, n, last.as_deref()))
        })
        .await
    }

    /// The manifests of a repository that are about `subject`, after the one with digest `last`; only those of a kind if `kind` is given.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub async fn referrers(
        &self,
        name: &Repository,
        subject: Digest,
        kind: Option<String>,
        last: Option<Digest>,
    ) -> Result<Page<Descriptor>, RegistryError> {
        let name = name.clone();
        self.blocking(move |shared| {
            let digests = files::names(&shared.layout.referrers(&name, &subject))
                .map_err(RegistryError::io("list referrers"))?;
            let page = shared.page(digests, None, last.map(|digest| digest.hex()).as_deref());
            let mut items = Vec::new();
            for hex in &page.items {
                let Ok(digest) = Digest::from_hex(hex) else {
                    continue;
                };
                if let Some(descriptor) = shared.described(&name, &digest)?
                    && kind
                        .as_ref()
                        .is_none_or(|kind| descriptor.artifact_type.as_ref() == Some(kind))
                {
                    items.push(descriptor);
                }
            }
            let next = page.next.and_then(|hex| Digest::from_hex(&hex).ok());
            Ok(Page {
                items,
                next: next.map(|digest| digest.to_string()),
            })
        })
        .await
    }
}

/// The media type to remember: what the manifest says it is. What the client said must not contradict it.
fn media_type_of(manifest: &Manifest, sent: Option<&str>) -> Result<String, RegistryError> {
    let sent = sent.filter(|sent| !sent.is_empty());
    match (&manifest.media_type, sent) {
        (Some(said), Some(sent)) if said != sent => Err(RegistryError::Manifest(format!(
            "it was sent as {sent} and says it is {said}"
        ))),
        (Some(said), _) => Ok(said.clone()),
        (None, Some(sent)) => Ok(sent.to_owned()),
        (None, None) => Err(RegistryError::Manifest(
            "it does not say its media type".to_owned(),
        )),
    }
    .and_then(|media_type| {
        // It will be a header of answers.
        let fits = media_type.len() <= 255 && media_type.chars().all(|c| c.is_ascii_graphic());
        if fits {
            Ok(media_type)
        } else {
            Err(RegistryError::Manifest("its media type is none".to_owned()))
        }
    })
}

impl Shared {
    fn put(&self, path: &std::path::Path, content: &[u8]) -> Result<(), RegistryError> {
        files::write(&self.layout.uploads(), path, content)
            .map_err(RegistryError::io("write a manifest or tag"))
    }

    /// Whether the repository has everything the manifest refers to.
    fn check_parts(&self, name: &Repository, manifest: &Manifest) -> Result<(), RegistryError> {
        for blob in manifest.blobs() {
            match self.blob_size(name, &blob.digest)? {
                Some(size) if size == blob.size => {}
                Some(size) => {
                    return Err(RegistryError::Manifest(format!(
                        "it says that {} has {} bytes, but it has {size}",
                        blob.digest, blob.size
                    )));
                }
                None => return Err(RegistryError::ManifestBlobUnknown(blob.digest)),
            }
        }
        for child in manifest.children() {
            if !self.layout.manifest(name, &child.digest).exists() {
                return Err(RegistryError::ManifestBlobUnknown(child.digest));
            }
        }
        Ok(())
    }

    fn put_manifest(
        &self,
        name: &Repository,
        manifest: &Stored,
        subject: Option<&Digest>,
    ) -> Result<(), RegistryError> {
        let digest = &manifest.digest;
        if self.content_size(digest)?.is_none() {
            self.put(&self.layout.blob(digest), &manifest.bytes)?;
        }
        if let Some(subject) = subject {
            self.put(&self.layout.referrer(name, subject, digest), b"")?;
        }
        let note = Note {
            media_type: manifest.media_type.clone(),
        };
        // A string always is JSON.
        let note = serde_json::to_vec(&note).unwrap_or_default();
        self.put(&self.layout.manifest(name, digest), &note)
    }

    fn remove_manifest(&self, name: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        let failed = || RegistryError::io("remove a manifest");
        let Some(stored) = self.manifest(name, digest)? else {
            return Ok(false);
        };
        for tag in files::names(&self.layout.tags(name)).map_err(failed())? {
            if self.resolve(name, &Reference::Tag(tag.clone()))? == Some(*digest) {
                files::remove(&self.layout.tag(name, &tag)).map_err(failed())?;
            }
        }
        let subject = Manifest::parse(&stored.bytes)
            .ok()
            .and_then(|manifest| manifest.subject);
        if let Some(subject) = subject {
            files::remove(&self.layout.referrer(name, &subject.digest, digest)).map_err(failed())?;
        }
        files::remove(&self.layout.manifest(name, digest)).map_err(failed())
    }

    /// The digest a reference means.
    fn resolve(
        &self,
        name: &Repository,
        reference: &Reference,
    ) -> Result<Option<Digest>, RegistryError> {
        let tag = match reference {
            Reference::Digest(digest) => return Ok(Some(*digest)),
            Reference::Tag(tag) => tag,
        };
        let content = files::read(&self.layout.tag(name, tag), NOTE_BYTES)
            .map_err(RegistryError::io("read a tag"))?;
        Ok(content.and_then(|content| String::from_utf8(content).ok()?.parse().ok()))
    }

    pub(super) fn manifest(
        &self,
        name: &Repository,
        digest: &Digest,
    ) -> Result<Option<Stored>, RegistryError> {
        let failed = || RegistryError::io("read a manifest");
        let Some(note) =
            files::read(&self.layout.manifest(name, digest), NOTE_BYTES).map_err(failed())?
        else {
            return Ok(None);
        };
        let note: Note = serde_json::from_slice(&note)
            .map_err(|error| RegistryError::io("read a manifest's media type")(error.into()))?;
        let bytes =
            files::read(&self.layout.blob(digest), self.limits.manifest_bytes).map_err(failed())?;
        Ok(bytes.map(|bytes| Stored {
            digest: *digest,
            media_type: note.media_type,
            bytes,
        }))
    }

    /// How a list of referrers shows a manifest.
    fn described(
        &self,
        name: &Repository,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, RegistryError> {
        let Some(stored) = self.manifest(name, digest)? else {
            return Ok(None);
        };
        let Ok(manifest) = Manifest::parse(&stored.bytes) else {
            return Ok(None);
        };
        let mut descriptor =
            Descriptor::new(&stored.media_type, *digest, stored.bytes.len() as u64);
        descriptor.artifact_type = manifest.kind().map(str::to_owned);
        descriptor.annotations = manifest.annotations;
        Ok(Some(descriptor))
    }

    /// The part of a sorted list after `last`.
    fn page(&self, mut names: Vec<String>, n: Option<usize>, last: Option<&str>) -> Page<String> {
        if let Some(last) = last {
            names.retain(|name| name.as_str() > last);
        }
        let n = n.unwrap_or(self.limits.page).min(self.limits.page);
        let more = names.len() > n;
        names.truncate(n);
        let next = if more { names.last().cloned() } else { None };
        Page { items: names, next }
    }
}
