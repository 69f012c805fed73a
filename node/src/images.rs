//! The node's images: pulled from the cluster's registry, kept on disk by digest, made runnable once. An image is at hand when its manifest and wasm are on
//! disk and verified; it is ready when the runtime has prepared it.

mod blobs;
mod pulling;
mod pulls;
mod registry;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use coracle_api::image::{Choice, Digest, ImageError, ImageReference, Layer, Manifest};
use coracle_lifecycle::{FetchFault, Image};
use coracle_runtime::{Artifact, ArtifactError, Runtime};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::{blobs::Blobs, pulls::Locks, registry::Registry};

/// The largest wasm, packed or not: what the runtime takes.
const WASM_LIMIT: usize = coracle_runtime::artifact::SIZE_LIMIT;
/// Images whose wasm cannot be run are remembered, so that trying again costs nothing; so many of them.
const UNUSABLE_LIMIT: usize = 256;

/// Images pulled at a time. Each may hold a whole layer in memory.
const PULLS: usize = 4;

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time: the name may mean something else now.
    Always,
    /// When it is not at hand.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// The policy of a container's spec; what upstream defaults to where there is none.
    #[must_use]
    pub fn of(text: Option<&str>, reference: &str) -> Self {
        match text {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some(_) => Self::IfNotPresent,
            None => match ImageReference::parse(reference) {
                Ok(parsed) if parsed.is_latest() => Self::Always,
                _ => Self::IfNotPresent,
            },
        }
    }
}

/// An image that can be run.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What it is called and what it is.
    pub image: Image,
    /// What the runtime made of it.
    pub artifact: Arc<Artifact>,
    /// How long it took and how large it is, if it had to be pulled.
    pub pulled: Option<(Duration, u64)>,
}

/// An image that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unfetched {
    /// What kind of failure it is.
    pub fault: FetchFault,
    /// For people.
    pub message: String,
}

impl Unfetched {
    fn pull(message: impl Into<String>) -> Self {
        Self {
            fault: FetchFault::Pull,
            message: message.into(),
        }
    }

    fn unusable(error: &ImageError) -> Self {
        Self {
            fault: FetchFault::InvalidImage,
            message: error.to_string(),
        }
    }
}

/// What an image's name means on this node.
#[derive(Clone, Debug)]
struct Meaning {
    manifest: Digest,
    layer: Layer,
}

/// The images of a node.
pub struct Images {
    registry: Registry,
    runtime: Arc<Runtime>,
    blobs: Arc<Blobs>,
    names: Mutex<BTreeMap<String, Meaning>>,
    ready: Mutex<HashMap<Digest, (Arc<Artifact>, Instant)>>,
    unusable: Mutex<HashMap<Digest, String>>,
    pulls: Locks,
    /// Held while something is pulled.
    pulling: Semaphore,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images")
            .field("blobs", &self.blobs)
            .finish_non_exhaustive()
    }
}

impl Images {
    /// The images below `root`, which belongs to the agent alone. Blocks.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(
        root: PathBuf,
        limit: u64,
        client: kube::Client,
        runtime: Arc<Runtime>,
    ) -> std::io::Result<Self> {
        let blobs = Blobs::open(root, limit)?;
        let mut names = BTreeMap::new();
        for (name, digest) in blobs.names()? {
            // What does not read back is pulled anew when it is asked for.
            let meaning = blobs
                .read(&digest)?
                .and_then(|bytes| meaning(&bytes, digest).ok());
            if let Some(meaning) = meaning {
                names.insert(name, meaning);
            }
        }
        Ok(Self {
            registry: Registry::new(client),
            runtime,
            blobs: Arc::new(blobs),
            names: Mutex::new(names),
            ready: Mutex::default(),
            unusable: Mutex::default(),
            pulls: Locks::default(),
            pulling: Semaphore::new(PULLS),
        })
    }

    /// The image if it is ready and need not be asked for: what most starts find.
    #[must_use]
    pub fn at_hand(&self, reference: &str, policy: PullPolicy) -> Option<Ready> {
        if policy == PullPolicy::Always
            && !ImageReference::parse(reference).is_ok_and(|parsed| parsed.is_pinned())
        {
            return None;
        }
        let meaning = self.names.lock().get(reference).cloned()?;
        let artifact = self.ready_artifact(&meaning.layer.digest)?;
        Some(Ready {
            image: image(reference, &meaning),
            artifact,
            pulled: None,
        })
    }

    /// Whether [`Images::fetch`] would ask the registry now.
    #[must_use]
    pub fn is_pulled(&self, reference: &str, policy: PullPolicy) -> bool {
        let is_known = self.names.lock().contains_key(reference);
        match policy {
            PullPolicy::Never => false,
            PullPolicy::IfNotPresent => !is_known,
            PullPolicy::Always => {
                let parsed = ImageReference::parse(reference);
                !(is_known && parsed.is_ok_and(|parsed| parsed.is_pinned()))
            }
        }
    }

    /// Gets the image: from disk or the registry, as the policy says, and makes it ready.
    ///
    /// # Errors
    /// [`Unfetched`].
    ///
    /// # Cancellation
    /// May be dropped at any time; what was finished is kept.
    pub async fn fetch(&self, reference: &str, policy: PullPolicy) -> Result<Ready, Unfetched> {
        if let Some(ready) = self.at_hand(reference, policy) {
            return Ok(ready);
        }
        let parsed = ImageReference::parse(reference).map_err(|error| Unfetched {
            fault: FetchFault::InvalidName,
            message: format!("Failed to apply default image tag {reference:?}: {error}"),
        })?;
        let known = self.names.lock().get(reference).cloned();
        let is_pinned = parsed.is_pinned();
        let (meaning, pulled) = match (policy, known) {
            (PullPolicy::Never, Some(known)) => (known, None),
            (PullPolicy::Never, None) => {
                return Err(Unfetched {
                    fault: FetchFault::NeverPull,
                    message: format!(
                        "Container image \"{reference}\" is not present with pull policy of Never"
                    ),
                });
            }
            // What cannot be run may have been replaced by what can.
            (PullPolicy::IfNotPresent, Some(known)) if !self.is_unusable(&known) => (known, None),
            (PullPolicy::Always, Some(known)) if is_pinned => (known, None),
            (PullPolicy::Always | PullPolicy::IfNotPresent, _) => {
                let began = Instant::now();
                let meaning = self.pull(reference, &parsed).await?;
                let size = meaning.layer.size;
                (meaning, Some((began.elapsed(), size)))
            }
        };
        let artifact = match self.prepare(&meaning.layer).await? {
            Some(artifact) => artifact,
            // It was on disk once and no longer is, or is damaged.
            None if policy == PullPolicy::Never => {
                return Err(Unfetched {
                    fault: FetchFault::NeverPull,
                    message: format!(
                        "Container image \"{reference}\" is damaged on disk and has a pull policy of Never"
                    ),
                });
            }
            None => {
                self.pull(reference, &parsed).await?;
                let prepared = self.prepare(&meaning.layer).await?;
                prepared.ok_or_else(|| Unfetched::pull("the image does not stay on disk"))?
            }
        };
        Ok(Ready {
            image: image(reference, &meaning),
            artifact,
            pulled,
        })
    }

    /// Sizes and names of the images at hand, for the Node object.
    #[must_use]
    pub fn listed(&self) -> Vec<(Vec<String>, u64)> {
        let names = self.names.lock();
        let mut by_layer: BTreeMap<Digest, (Vec<String>, u64)> = BTreeMap::new();
        for (name, meaning) in names.iter() {
            let entry = by_layer
                .entry(meaning.layer.digest)
                .or_insert_with(|| (Vec::new(), meaning.layer.size));
            entry.0.push(name.clone());
        }
        by_layer.into_values().collect()
    }

    fn is_unusable(&self, meaning: &Meaning) -> bool {
        self.unusable.lock().contains_key(&meaning.layer.digest)
    }

    fn ready_artifact(&self, layer: &Digest) -> Option<Arc<Artifact>> {
        let mut ready = self.ready.lock();
        let (artifact, used) = ready.get_mut(layer)?;
        *used = Instant::now();
        Some(Arc::clone(artifact))
    }

    /// Makes what is on disk runnable; nothing when it is not there whole.
    async fn prepare(&self, layer: &Layer) -> Result<Option<Arc<Artifact>>, Unfetched> {
        let _one = self.pulls.lock(&layer.digest.to_string()).await;
        if let Some(artifact) = self.ready_artifact(&layer.digest) {
            return Ok(Some(artifact));
        }
        let unusable = |message: String| Unfetched {
            fault: FetchFault::InvalidImage,
            message,
        };
        if let Some(message) = self.unusable.lock().get(&layer.digest) {
            return Err(unusable(message.clone()));
        }
        let (blobs, of) = (Arc::clone(&self.blobs), layer.clone());
        let read = tokio::task::spawn_blocking(move || {
            let Some(content) = blobs.read(&of.digest)? else {
                return Ok(None);
            };
            Ok(Some(
                of.unpack(&content, WASM_LIMIT)
                    .map(|wasm| Bytes::from(wasm.into_owned())),
            ))
        });
        let Some(wasm) = on_disk(read.await)? else {
            return Ok(None);
        };
        let prepared = match wasm {
            Ok(wasm) => self
                .runtime
                .prepare(wasm)
                .await
                .map_err(|error| match error {
                    ArtifactError::Host(message) => Unfetched::pull(message),
                    guests => unusable(guests.to_string()),
                }),
            Err(error) => Err(Unfetched::unusable(&error)),
        };
        match prepared {
            Ok(artifact) => {
                for warning in &artifact.warnings {
                    tracing::warn!(layer = %layer.digest, warning, "an image may not run as its author expects");
                }
                self.ready
                    .lock()
                    .insert(layer.digest, (Arc::clone(&artifact), Instant::now()));
                Ok(Some(artifact))
            }
            Err(error) => {
                if error.fault == FetchFault::InvalidImage {
                    let mut unusable = self.unusable.lock();
                    if unusable.len() >= UNUSABLE_LIMIT {
                        unusable.clear();
                    }
                    unusable.insert(layer.digest, error.message.clone());
                }
                Err(error)
            }
        }
    }
}

fn image(reference: &str, meaning: &Meaning) -> Image {
    let name = reference.split('@').next().unwrap_or(reference);
    let (head, last) = name
        .rsplit_once('/')
        .map_or(("", name), |(head, last)| (head, last));
    let last = last.split(':').next().unwrap_or(last);
    let separator = if head.is_empty() { "" } else { "/" };
    Image {
        reference: reference.to_owned(),
        id: format!("{head}{separator}{last}@{}", meaning.manifest),
    }
}

fn meaning(bytes: &[u8], digest: Digest) -> Result<Meaning, ImageError> {
    match Manifest::parse(bytes)?.choose()? {
        Choice::Layer(layer) => Ok(Meaning {
            manifest: digest,
            layer,
        }),
        Choice::Manifest(_) => Err(ImageError::Manifest("it is an index".to_owned())),
    }
}

fn on_disk<T>(done: Result<std::io::Result<T>, tokio::task::JoinError>) -> Result<T, Unfetched> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Unfetched::pull(format!("the node's image store: {error}"))),
        Err(error) => Err(Unfetched::pull(format!("the node's image store: {error}"))),
    }
}
