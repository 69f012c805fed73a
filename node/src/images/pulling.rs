//! Gets images from the registry: manifest, layer, then the name. What is on disk is not asked for again; what does not fit any more is forgotten.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use coracle_api::image::{Choice, Digest, ImageError, ImageReference, Manifest};

use super::{Images, Meaning, Unfetched, WASM_LIMIT, on_disk};

impl Images {
    /// Asks the registry what the name means now and gets what is not on disk. One at a time per name and per layer.
    pub(super) async fn pull(
        &self,
        reference: &str,
        parsed: &ImageReference,
    ) -> Result<Meaning, Unfetched> {
        if let Some(host) = &parsed.registry {
            return Err(Unfetched::pull(format!(
                "this node pulls from the cluster's own registry only, not from {host}: push the image there and leave the host out of its name"
            )));
        }
        let _one = self.pulls.lock(reference).await;
        let _few = self.pulling.acquire().await;
        let (mut digest, mut bytes) = self
            .registry
            .manifest(&parsed.repository, &parsed.wanted())
            .await?;
        let mut manifest = Manifest::parse(&bytes).map_err(|error| Unfetched::unusable(&error))?;
        if let Choice::Manifest(child) = manifest
            .choose()
            .map_err(|error| Unfetched::unusable(&error))?
        {
            (digest, bytes) = self
                .registry
                .manifest(&parsed.repository, &child.digest.to_string())
                .await?;
            manifest = Manifest::parse(&bytes).map_err(|error| Unfetched::unusable(&error))?;
        }
        let Choice::Layer(layer) = manifest
            .choose()
            .map_err(|error| Unfetched::unusable(&error))?
        else {
            return Err(Unfetched::unusable(&ImageError::Manifest(
                "an index in an index is no image".to_owned(),
            )));
        };
        let _one = self.pulls.lock(&layer.digest.to_string()).await;
        if !self.blobs.has(&layer.digest) {
            if usize::try_from(layer.size).map_or(true, |size| size > WASM_LIMIT) {
                return Err(Unfetched::unusable(&ImageError::TooLarge {
                    what: "the layer with the wasm",
                    limit: WASM_LIMIT,
                }));
            }
            let content = self
                .registry
                .blob(&parsed.repository, &layer.digest, layer.size)
                .await?;
            self.keep(layer.digest, content).await?;
        }
        self.keep(digest, bytes).await?;
        let meaning = Meaning {
            manifest: digest,
            layer,
        };
        self.remember(reference, &meaning).await?;
        Ok(meaning)
    }

    async fn keep(&self, digest: Digest, content: Bytes) -> Result<(), Unfetched> {
        let blobs = Arc::clone(&self.blobs);
        let written = tokio::task::spawn_blocking(move || blobs.write(&digest, &content)).await;
        on_disk(written)
    }

    async fn remember(&self, reference: &str, meaning: &Meaning) -> Result<(), Unfetched> {
        let names: BTreeMap<String, Digest> = {
            let mut names = self.names.lock();
            names.insert(reference.to_owned(), meaning.clone());
            self.collect(&mut names, &meaning.layer.digest);
            names
                .iter()
                .map(|(name, meaning)| (name.clone(), meaning.manifest))
                .collect()
        };
        let blobs = Arc::clone(&self.blobs);
        let written = tokio::task::spawn_blocking(move || blobs.write_names(&names)).await;
        on_disk(written)
    }

    /// Forgets images that no pod uses, the longest unused first, until the rest fits. `new` is kept.
    fn collect(&self, names: &mut BTreeMap<String, Meaning>, new: &Digest) {
        let mut layers: BTreeMap<Digest, u64> = names
            .values()
            .map(|meaning| (meaning.layer.digest, meaning.layer.size))
            .collect();
        let mut total: u64 = layers.values().sum();
        let mut ready = self.ready.lock();
        while total > self.blobs.limit() {
            let is_used = |digest: &Digest| {
                digest == new
                    || ready
                        .get(digest)
                        .is_some_and(|(artifact, _)| Arc::strong_count(artifact) > 1)
            };
            let unused = layers.keys().filter(|digest| !is_used(digest));
            // What was not used since the agent began comes first.
            let Some(oldest) = unused
                .min_by_key(|digest| ready.get(digest).map(|(_, used)| *used))
                .copied()
            else {
                return;
            };
            total -= layers.remove(&oldest).unwrap_or(0);
            ready.remove(&oldest);
            names.retain(|_, meaning| meaning.layer.digest != oldest);
        }
    }
}
