//! Images as OCI artifacts: what they are called ([`reference`]), which of their layers is the wasm ([`manifest`]), how it comes out of it ([`layer`]), and how
//! an image is put together for a push ([`build`]). Pure: fetching, storing and verifying what was fetched are others' business.
//!
//! Sources: OCI distribution and image specifications 1.1; the CNCF's layout for WebAssembly OCI artifacts.

pub mod build;
pub mod digest;
pub mod layer;
pub mod manifest;
pub mod reference;

pub use build::{ComponentInfo, Image};
pub use digest::Digest;
pub use layer::{Form, Layer, WasmKind};
pub use manifest::{Choice, Descriptor, Manifest};
pub use reference::ImageReference;

/// The media types that matter here.
pub mod media {
    /// An OCI manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI index: manifests for several platforms.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's index.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The configuration of a wasm artifact.
    pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
    /// A wasm module or component.
    pub const WASM: &str = "application/wasm";
    /// A wasm module or component, as older tools name it.
    pub const WASM_CONTENT: &str = "application/vnd.wasm.content.layer.v1+wasm";
    /// What a puller can make use of, for the Accept header.
    pub const ACCEPTED: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST];
}

/// The largest manifest, as OCI distribution suggests.
pub const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;

/// What is wrong with an image or its name. All are the fault of whoever made or named it; trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The name of an image is none.
    #[error("invalid image name {name:?}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A digest is none, or of a kind that is not used here.
    #[error("invalid digest {0:?}: must be sha256: and 64 hexadecimal digits in lower case")]
    Digest(String),
    /// The manifest is not one.
    #[error("invalid manifest: {0}")]
    Manifest(String),
    /// The image has no wasm in it.
    #[error("the image holds no wasm: {0}")]
    NoWasm(String),
    /// The image has several wasm files and does not say which is meant.
    #[error("the image holds several wasm files: {0}")]
    Several(String),
    /// A layer cannot be unpacked.
    #[error("the layer cannot be unpacked: {0}")]
    Layer(String),
    /// Something is larger than allowed.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

#[cfg(test)]
mod tests;
