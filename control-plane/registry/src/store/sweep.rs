//! Sweeps away content nobody refers to: blobs that no manifest of any repository needs and that were not pushed lately. Manifests stay until they are
//! deleted, tagged or not: a node may run them by digest.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, SystemTime},
};

use coracle_api::image::{Digest, Manifest};

use super::{Registry, Shared};
use crate::{error::RegistryError, files, route::Repository};

/// The deepest repository name: 255 characters, of which every other is a slash.
const DEEPEST: usize = 128;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs that are gone.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that are still there.
    pub kept: usize,
}

impl Registry {
    /// Removes blobs that no manifest refers to, unless they were pushed or mounted within `grace` before `now`: their manifest may be on its way. Pushes wait
    /// meanwhile; pulls go on.
    ///
    /// # Errors
    /// [`RegistryError::Io`]; then nothing that is referred to is gone, and something that is not may be left.
    pub async fn sweep(&self, now: SystemTime, grace: Duration) -> Result<Swept, RegistryError> {
        self.blocking(move |shared| {
            let _alone = shared.additions.write();
            shared.sweep(now, grace)
        })
        .await
    }
}

impl Shared {
    fn sweep(&self, now: SystemTime, grace: Duration) -> Result<Swept, RegistryError> {
        let failed = || RegistryError::io("sweep the registry");
        let repositories = self.repositories()?;
        let mut needed = HashSet::new();
        let mut links: Vec<(&Repository, Digest)> = Vec::new();
        for name in &repositories {
            for hex in files::names(&self.layout.manifests(name)).map_err(failed())? {
                let Ok(digest) = Digest::from_hex(&hex) else {
                    continue;
                };
                needed.insert(digest);
                if let Some(stored) = self.manifest(name, &digest)?
                    && let Ok(manifest) = Manifest::parse(&stored.bytes)
                {
                    needed.extend(manifest.blobs().map(|blob| blob.digest));
                }
            }
            for hex in files::names(&self.layout.layers(name)).map_err(failed())? {
                let Ok(digest) = Digest::from_hex(&hex) else {
                    continue;
                };
                let linked =
                    fs::metadata(self.layout.layer(name, &digest)).and_then(|link| link.modified());
                let linked = linked.map_err(failed())?;
                // A time in the future is a clock that was set back: lately, too.
                if now.duration_since(linked).is_ok_and(|age| age >= grace) {
                    links.push((name, digest));
                } else {
                    needed.insert(digest);
                }
            }
        }
        // Links first: a link without content is harmless, content without a link is found by the next sweep.
        for (name, digest) in links {
            if !needed.contains(&digest) {
                files::remove(&self.layout.layer(name, &digest)).map_err(failed())?;
            }
        }
        self.remove_blobs_but(&needed)
    }

    fn remove_blobs_but(&self, needed: &HashSet<Digest>) -> Result<Swept, RegistryError> {
        let failed = || RegistryError::io("sweep the registry");
        let mut swept = Swept::default();
        for shard in files::names(&self.layout.blobs()).map_err(failed())? {
            for hex in files::names(&self.layout.blobs().join(shard)).map_err(failed())? {
                let Ok(digest) = Digest::from_hex(&hex) else {
                    continue;
                };
                if needed.contains(&digest) {
                    swept.kept += 1;
                    continue;
                }
                swept.bytes += self.content_size(&digest)?.unwrap_or_default();
                files::remove(&self.layout.blob(&digest)).map_err(failed())?;
                swept.blobs += 1;
            }
        }
        Ok(swept)
    }

    /// All repositories, sorted.
    pub(super) fn repositories(&self) -> Result<Vec<Repository>, RegistryError> {
        let failed = || RegistryError::io("list repositories");
        let root = self.layout.repositories();
        let mut found = Vec::new();
        let mut ahead = vec![(String::new(), 0)];
        while let Some((name, depth)) = ahead.pop() {
            for part in files::names(&root.join(&name)).map_err(failed())? {
                if part.starts_with('_') {
                    continue;
                }
                let inner = if name.is_empty() {
                    part
                } else {
                    format!("{name}/{part}")
                };
                if depth < DEEPEST {
                    ahead.push((inner, depth + 1));
                }
            }
            if let Ok(repository) = Repository::new(&name)
                && (self.layout.manifests(&repository).exists()
                    || self.layout.layers(&repository).exists())
            {
                found.push(repository);
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}
