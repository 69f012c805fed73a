//! Uploads: content on its way to be a blob. Written to a file and hashed as it comes; becomes a blob only when its digest is the one that was promised
//! and it is on disk. Sessions live in memory: a restart gives them up, and clients begin again.

use std::{
    io::{self, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use coracle_api::image::Digest;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    sync::OwnedMutexGuard,
    time::Instant,
};
use uuid::Uuid;

use super::{Registry, Shared};
use crate::{error::RegistryError, files, route::Repository};

/// An upload under way, as others see it.
#[derive(Debug)]
pub(super) struct Session {
    repository: Repository,
    content: Arc<tokio::sync::Mutex<Content>>,
    /// How many bytes have come.
    offset: AtomicU64,
    /// When bytes came last.
    touched: Mutex<Instant>,
}

/// What has come.
#[derive(Debug)]
struct Content {
    file: File,
    hash: Sha256,
    offset: u64,
    /// A write was begun and perhaps not finished: the file may have more than `offset` bytes.
    torn: bool,
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which upload.
    pub id: Uuid,
    /// How many bytes have come.
    pub offset: u64,
}

/// An upload that this caller alone writes to.
#[derive(Debug)]
pub struct Upload {
    registry: Registry,
    id: Uuid,
    session: Arc<Session>,
    content: OwnedMutexGuard<Content>,
    /// Whether it is given up when this is dropped: nobody knows where to go on.
    transient: bool,
}

impl Registry {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`RegistryError::TooMany`], [`RegistryError::Io`].
    pub async fn begin(&self, name: &Repository) -> Result<Progress, RegistryError> {
        self.give_up_idle().await?;
        let name = name.clone();
        self.blocking(move |shared| shared.begin(name)).await
    }

    /// How far an upload is.
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`].
    pub fn progress(&self, name: &Repository, id: Uuid) -> Result<Progress, RegistryError> {
        let session = self.session(name, id)?;
        let offset = session.offset.load(Ordering::Acquire);
        Ok(Progress { id, offset })
    }

    /// Takes hold of an upload, to write to it.
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`], [`RegistryError::UploadBusy`], [`RegistryError::Io`].
    pub async fn resume(&self, name: &Repository, id: Uuid) -> Result<Upload, RegistryError> {
        let session = self.session(name, id)?;
        let mut content = Arc::clone(&session.content)
            .try_lock_owned()
            .map_err(|_| RegistryError::UploadBusy)?;
        content
            .mend()
            .await
            .map_err(RegistryError::io("go on with an upload"))?;
        Ok(Upload {
            registry: self.clone(),
            id,
            session,
            content,
            transient: false,
        })
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`], [`RegistryError::Io`].
    pub async fn cancel(&self, name: &Repository, id: Uuid) -> Result<(), RegistryError> {
        self.session(name, id)?;
        self.shared.sessions.lock().remove(&id);
        self.discard(id).await
    }

    fn session(&self, name: &Repository, id: Uuid) -> Result<Arc<Session>, RegistryError> {
        let sessions = self.shared.sessions.lock();
        let session = sessions
            .get(&id)
            .filter(|session| session.repository == *name);
        session.map(Arc::clone).ok_or(RegistryError::UploadUnknown)
    }

    /// Gives up what nobody has added to for too long.
    async fn give_up_idle(&self) -> Result<(), RegistryError> {
        let idle = self.shared.limits.upload_idle;
        let mut given_up = Vec::new();
        self.shared.sessions.lock().retain(|id, session| {
            let keep =
                session.content.try_lock().is_err() || session.touched.lock().elapsed() < idle;
            if !keep {
                given_up.push(*id);
            }
            keep
        });
        for id in given_up {
            tracing::info!(upload = %id, "gave up an upload nobody added to");
            self.discard(id).await?;
        }
        Ok(())
    }

    /// Removes an upload's file.
    async fn discard(&self, id: Uuid) -> Result<(), RegistryError> {
        self.blocking(move |shared| {
            files::remove(&shared.layout.upload(&id))
                .map(drop)
                .map_err(RegistryError::io("give up an upload"))
        })
        .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.transient {
            self.registry.shared.sessions.lock().remove(&self.id);
            let path = self.registry.shared.layout.upload(&self.id);
            // It is gone already when the upload was finished; otherwise the next start removes it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Upload {
    /// The upload, which is given up when it is dropped unfinished: for those whose client was not told where to go on.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            id: self.id,
            offset: self.content.offset,
        }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`] (nothing is added), [`RegistryError::Io`] (the upload is of no use any more).
    /// # Cancellation
    /// Safe: nothing is added, and whoever resumes the upload goes on at the same place.
    pub async fn add(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        let limit = self.registry.shared.limits.blob_bytes;
        let offset = self.content.offset.saturating_add(bytes.len() as u64);
        if offset > limit {
            return Err(RegistryError::TooLarge {
                what: "a blob",
                limit,
            });
        }
        self.content.torn = true;
        let written = self.content.file.write_all(bytes).await;
        written.map_err(RegistryError::io("write an upload"))?;
        self.content.torn = false;
        self.content.hash.update(bytes);
        self.content.offset = offset;
        self.session.offset.store(offset, Ordering::Release);
        *self.session.touched.lock() = Instant::now();
        Ok(())
    }

    /// Makes the upload the blob with this digest.
    ///
    /// # Guarantees
    /// When this returns `Ok` the blob is on disk and in the repository.
    /// # Errors
    /// [`RegistryError::DigestMismatch`], [`RegistryError::Io`]. The upload is over in any case.
    /// # Cancellation
    /// Safe: once begun it goes on to its end.
    pub async fn finish(self, digest: Digest) -> Result<(), RegistryError> {
        tokio::spawn(self.finish_now(digest))
            .await
            .map_err(|_| RegistryError::Lost)?
    }

    async fn finish_now(mut self, digest: Digest) -> Result<(), RegistryError> {
        let actual = Digest::from_sha256(self.content.hash.clone().finalize().into());
        if actual != digest {
            self.abandon().await?;
            return Err(RegistryError::DigestMismatch(actual));
        }
        let synced = match self.content.file.flush().await {
            Ok(()) => self.content.file.sync_all().await,
            Err(error) => Err(error),
        };
        if let Err(source) = synced {
            self.abandon().await?;
            return Err(RegistryError::Io {
                doing: "sync an upload",
                source,
            });
        }
        let (id, name) = (self.id, self.session.repository.clone());
        self.registry.shared.sessions.lock().remove(&id);
        self.registry
            .blocking(move |shared| shared.keep(&name, id, &digest))
            .await
    }

    /// Gives the upload up.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub async fn abandon(self) -> Result<(), RegistryError> {
        self.registry.shared.sessions.lock().remove(&self.id);
        self.registry.discard(self.id).await
    }
}

impl Content {
    /// Makes the file what was hashed, when a write was cut off.
    async fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.offset).await?;
            self.file.seek(SeekFrom::Start(self.offset)).await?;
            self.torn = false;
        }
        Ok(())
    }
}

impl Shared {
    fn begin(&self, repository: Repository) -> Result<Progress, RegistryError> {
        let id = Uuid::new_v4();
        let mut sessions = self.sessions.lock();
        if sessions.len() >= self.limits.uploads {
            return Err(RegistryError::TooMany);
        }
        let file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .open(self.layout.upload(&id))
            .map_err(RegistryError::io("begin an upload"))?;
        let content = Content {
            file: File::from_std(file),
            hash: Sha256::new(),
            offset: 0,
            torn: false,
        };
        let session = Session {
            repository,
            content: Arc::new(tokio::sync::Mutex::new(content)),
            offset: AtomicU64::new(0),
            touched: Mutex::new(Instant::now()),
        };
        sessions.insert(id, Arc::new(session));
        Ok(Progress { id, offset: 0 })
    }

    /// Makes a complete, synced and verified upload a blob of a repository.
    fn keep(&self, name: &Repository, id: Uuid, digest: &Digest) -> Result<(), RegistryError> {
        let _addition = self.additions.read();
        let from = self.layout.upload(&id);
        let kept = if self.content_size(digest)?.is_some() {
            files::remove(&from).map(drop)
        } else {
            files::move_to(&from, &self.layout.blob(digest))
        };
        kept.map_err(RegistryError::io("keep a blob"))?;
        self.link(name, digest)
    }
}
