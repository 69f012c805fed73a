//! Puts an image together for a push, in the CNCF's layout: one layer that is the wasm, and a configuration that says what it is. The same wasm always
//! gives the same image.

use serde_json::json;

use super::{Descriptor, Digest, ImageError, Manifest, WasmKind, media};

/// What a component imports and exports, for its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// The interfaces it exports.
    pub exports: Vec<String>,
}

/// An image without its layer's content, which the caller has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The layer: the wasm itself.
    pub layer: Descriptor,
    /// The configuration.
    pub config: Descriptor,
    /// The configuration's bytes.
    pub config_bytes: Vec<u8>,
    /// The manifest.
    pub manifest: Descriptor,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
}

impl Image {
    /// An image of `wasm`. `info` is what a component imports and exports, as far as the caller knows it.
    ///
    /// # Errors
    /// [`ImageError::NoWasm`] when it is neither a module nor a component.
    pub fn of_wasm(wasm: &[u8], info: Option<&ComponentInfo>) -> Result<Self, ImageError> {
        let kind = WasmKind::of(wasm).ok_or_else(|| {
            ImageError::NoWasm("it begins neither like a module nor like a component".to_owned())
        })?;
        let digest = Digest::of(wasm);
        let mut config = json!({
            "architecture": "wasm",
            "os": match kind {
                WasmKind::Module => "wasip1",
                WasmKind::Component => "wasip2",
            },
            "layerDigests": [digest],
        });
        if let (WasmKind::Component, Some(info), Some(config)) =
            (kind, info, config.as_object_mut())
        {
            let component = json!({"imports": info.imports, "exports": info.exports});
            config.insert("component".to_owned(), component);
        }
        let config_bytes = config.to_string().into_bytes();
        let config = described(media::WASM_CONFIG, &config_bytes);
        let layer = Descriptor::new(media::WASM, digest, wasm.len() as u64);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            config: Some(config.clone()),
            layers: Some(vec![layer.clone()]),
            ..Manifest::default()
        };
        let manifest_bytes = serde_json::to_vec(&manifest)
            .map_err(|error| ImageError::Manifest(error.to_string()))?;
        Ok(Self {
            layer,
            config,
            config_bytes,
            manifest: described(media::MANIFEST, &manifest_bytes),
            manifest_bytes,
        })
    }
}

fn described(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::of(content), content.len() as u64)
}
