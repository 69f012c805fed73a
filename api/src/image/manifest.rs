//! Manifests and indexes: what they refer to, and which layer of which manifest is the wasm to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Digest, ImageError, MANIFEST_LIMIT,
    layer::{Form, Layer},
    media,
};

/// Platforms a wasm manifest may name in an index, the preferred first. Architecture `wasm` is what the layout says, `wasm32` what some tools write.
const SYSTEMS: [&str; 5] = ["wasip2", "wasip1", "wasi", "", "linux"];
const ARCHITECTURES: [&str; 2] = ["wasm", "wasm32"];
/// How many names an error lists.
const LISTED: usize = 5;

/// What refers to content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What else is said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// For which platform it is, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact it is, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Where else it can be had. Content with addresses need not be in the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
}

impl Descriptor {
    /// A descriptor of content.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: None,
            platform: None,
            artifact_type: None,
            urls: None,
        }
    }
}

/// For which platform a manifest is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// The processor.
    pub architecture: String,
    /// The system.
    pub os: String,
}

/// A manifest or an index: the fields of both, those of the other empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Which of the two it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration, of a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    /// The content, of a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Descriptor>>,
    /// The manifests, of an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<Descriptor>>,
    /// What this one says something about (a signature, a bill of materials).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What to fetch next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This layer holds the wasm.
    Layer(Layer),
    /// The manifest to read is this one (it was an index). At most one such step is taken: an index in an index is not an image.
    Manifest(Descriptor),
}

impl Manifest {
    /// Reads a manifest or an index.
    ///
    /// # Errors
    /// [`ImageError::Manifest`], [`ImageError::TooLarge`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.len() > MANIFEST_LIMIT {
            return Err(ImageError::TooLarge {
                what: "the manifest",
                limit: MANIFEST_LIMIT,
            });
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| ImageError::Manifest(error.to_string()))?;
        if manifest.schema_version != 2 {
            return Err(ImageError::Manifest(format!(
                "schema version {} is not 2",
                manifest.schema_version
            )));
        }
        match (
            manifest.manifests.is_some(),
            manifest.layers.is_some() || manifest.config.is_some(),
        ) {
            (true, true) => Err(ImageError::Manifest(
                "it is a manifest and an index at once".to_owned(),
            )),
            (false, false) => Err(ImageError::Manifest(
                "it is neither a manifest nor an index".to_owned(),
            )),
            _ => Ok(manifest),
        }
    }

    /// Whether it is an index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        self.manifests.is_some()
    }

    /// The content it cannot do without: configuration and layers that are not had elsewhere.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let layers = self.layers.iter().flatten();
        self.config
            .iter()
            .chain(layers.filter(|layer| layer.urls.as_ref().is_none_or(Vec::is_empty)))
    }

    /// The manifests it lists.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().flatten()
    }

    /// What kind of artifact it is: what it says, or the media type of its configuration (image specification, guidelines for artifacts).
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        let said = self
            .artifact_type
            .as_deref()
            .filter(|kind| !kind.is_empty());
        said.or_else(|| {
            self.config
                .as_ref()
                .map(|config| config.media_type.as_str())
        })
    }

    /// Where the wasm is.
    ///
    /// # Errors
    /// [`ImageError::NoWasm`], [`ImageError::Several`].
    pub fn choose(&self) -> Result<Choice, ImageError> {
        match &self.manifests {
            Some(manifests) => choose_manifest(manifests).map(Choice::Manifest),
            None => choose_layer(self.layers.as_deref().unwrap_or_default()).map(Choice::Layer),
        }
    }
}

/// The manifest for wasm, or the only one there is.
fn choose_manifest(manifests: &[Descriptor]) -> Result<Descriptor, ImageError> {
    let is_image = |descriptor: &&Descriptor| {
        matches!(descriptor.media_type.as_str(), media::MANIFEST | media::DOCKER_MANIFEST)
            // Build tools list their attestations like this.
            && descriptor.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
    };
    let images: Vec<&Descriptor> = manifests.iter().filter(is_image).collect();
    let rank = |descriptor: &Descriptor| {
        let platform = descriptor.platform.as_ref()?;
        let is_wasm = ARCHITECTURES.contains(&platform.architecture.as_str());
        let system = SYSTEMS.iter().position(|system| *system == platform.os);
        system.filter(|_| is_wasm)
    };
    let ranked = images
        .iter()
        .filter_map(|image| Some((rank(image)?, *image)));
    if let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) {
        return Ok(best.clone());
    }
    match images.as_slice() {
        [only] => Ok((*only).clone()),
        _ => {
            let platforms = images
                .iter()
                .take(LISTED)
                .map(|image| match &image.platform {
                    Some(platform) => format!("{}/{}", platform.os, platform.architecture),
                    None => "no platform".to_owned(),
                });
            let platforms = platforms.collect::<Vec<_>>().join(", ");
            Err(ImageError::NoWasm(format!(
                "none of its {} manifests is for wasm ({platforms})",
                images.len()
            )))
        }
    }
}

/// The layer that is wasm, or the only layer if it can hold some.
fn choose_layer(layers: &[Descriptor]) -> Result<Layer, ImageError> {
    let wasm: Vec<&Descriptor> = layers
        .iter()
        .filter(|layer| Form::of(layer) == Some(Form::Wasm))
        .collect();
    match wasm.as_slice() {
        [only] => return Ok(Layer::new(only, Form::Wasm)),
        [] => {}
        several => {
            return Err(ImageError::Several(format!(
                "{} layers are wasm",
                several.len()
            )));
        }
    }
    match layers {
        [only] => match Form::of(only) {
            Some(form) => Ok(Layer::new(only, form)),
            None => Err(ImageError::NoWasm(format!(
                "its layer is {:?}",
                only.media_type
            ))),
        },
        [] => Err(ImageError::NoWasm("it has no layers".to_owned())),
        several => {
            let types = several
                .iter()
                .take(LISTED)
                .map(|layer| layer.media_type.as_str());
            let types = types.collect::<Vec<_>>().join(", ");
            Err(ImageError::NoWasm(format!(
                "none of its {} layers is wasm ({types})",
                several.len()
            )))
        }
    }
}
