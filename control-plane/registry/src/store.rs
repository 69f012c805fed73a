//! What the registry keeps: [`blobs`], [`uploads`] on their way to be blobs, [`manifests`] with their tags and referrers; and how what nobody refers to is
//! swept away ([`sweep`]). Knows nothing of HTTP.

mod blobs;
mod manifests;
mod sweep;
mod uploads;

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use self::uploads::Session;
pub use self::{
    blobs::BlobFile,
    manifests::{Page, Stored},
    sweep::Swept,
    uploads::{Progress, Upload},
};
use crate::{error::RegistryError, files, layout::Layout};

/// The bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest blob in bytes. The largest wasm artifacts (with a language's whole run time in them) are below 100 MB.
    pub blob_bytes: u64,
    /// The largest manifest in bytes, as the specification suggests.
    pub manifest_bytes: u64,
    /// Uploads at once, all repositories together. Tools push five layers at a time; wasm images have one.
    pub uploads: usize,
    /// An upload nobody adds to for so long is given up.
    pub upload_idle: Duration,
    /// How long the next bytes of a body may take to arrive.
    pub read_time: Duration,
    /// The most tags, repositories or referrers in one answer.
    pub page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_bytes: 1 << 30,
            manifest_bytes: coracle_api::image::MANIFEST_LIMIT as u64,
            uploads: 64,
            upload_idle: Duration::from_secs(60 * 60),
            read_time: Duration::from_secs(60),
            page: 1000,
        }
    }
}

/// A registry on a folder, which nobody else uses. Cheap to clone; clones are the same registry.
#[derive(Clone, Debug)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    limits: Limits,
    /// Held for reading while something is added that a sweep must not take for refuse, for writing by the sweep.
    additions: RwLock<()>,
    /// Held while manifests and tags change, so that no tag outlives its manifest.
    changes: Mutex<()>,
    sessions: Mutex<HashMap<Uuid, Arc<Session>>>,
}

impl Registry {
    /// The registry in `dir`, made if there is none. Uploads that were not finished before are given up. Blocks.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub fn open(dir: &Path) -> Result<Self, RegistryError> {
        Self::open_with(dir, Limits::default())
    }

    /// As [`Registry::open`], with other bounds.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Self, RegistryError> {
        let layout = Layout::new(dir);
        let prepared = [layout.blobs(), layout.uploads(), layout.repositories()]
            .iter()
            .try_for_each(|dir| files::make_dirs(dir))
            .and_then(|()| files::clear(&layout.uploads()));
        prepared.map_err(RegistryError::io("open the registry"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                layout,
                limits,
                additions: RwLock::default(),
                changes: Mutex::default(),
                sessions: Mutex::default(),
            }),
        })
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Does something that blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .map_err(|_| RegistryError::Lost)?
    }
}
