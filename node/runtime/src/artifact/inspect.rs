//! What a module is, found out without running or compiling it: for those who push images, long before a node has to say no. Bytes are hostile.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{
    ComponentExternalKind, Encoding, ExternalKind, Parser, Payload, Validator, WasmFeatures,
};
use wit_component::ComponentEncoder;

use super::{ArtifactError, ContainerKind, SIZE_LIMIT, exits};

/// The interface whose export makes a component an HTTP handler.
const HTTP_HANDLER: &str = "wasi:http/incoming-handler@0.2";
/// The interface whose export makes a component a program.
const CLI_RUN: &str = "wasi:cli/run@0.2";
/// What nodes offer: interfaces of these packages.
const OFFERED: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// What was found out.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What kind of container it makes.
    pub kind: ContainerKind,
    /// The component: the bytes themselves, or what was made of a core module.
    pub component: Vec<u8>,
    /// The interfaces it imports, by name.
    pub imports: Vec<String>,
    /// The interfaces it exports, by name.
    pub exports: Vec<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Looks at a module's bytes. Takes milliseconds.
///
/// # Errors
/// Those of [`ArtifactError`] that are the fault of the bytes, except that only compiling finds out what cannot be compiled.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, ArtifactError> {
    if bytes.len() > SIZE_LIMIT {
        return Err(ArtifactError::TooLarge {
            size: bytes.len(),
            limit: SIZE_LIMIT,
        });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ArtifactError::NotWasm);
    }
    let mut warnings = Vec::new();
    let component = componentize(bytes, &mut warnings)?;
    let (imports, exports) = interfaces(&component)?;
    let kind = kind(exports.iter().map(String::as_str)).ok_or(ArtifactError::NoEntry)?;
    let is_offered = |name: &String| OFFERED.iter().any(|package| name.starts_with(package));
    if let Some(stranger) = imports.iter().find(|name| !is_offered(name)) {
        return Err(ArtifactError::UnknownImport(stranger.clone()));
    }
    Ok(Inspection {
        kind,
        component,
        imports,
        exports,
        warnings,
    })
}

/// What kind of container a component of these exports makes.
pub(super) fn kind<'a>(exports: impl Iterator<Item = &'a str>) -> Option<ContainerKind> {
    let mut kind = None;
    for name in exports {
        if name.starts_with(HTTP_HANDLER) {
            return Some(ContainerKind::HttpHandler);
        }
        if name.starts_with(CLI_RUN) {
            kind = Some(ContainerKind::Command);
        }
    }
    kind
}

fn malformed(error: wasmparser::BinaryReaderError) -> ArtifactError {
    ArtifactError::Malformed(error.to_string())
}

/// The names of the instances that a component imports and exports.
fn interfaces(component: &[u8]) -> Result<(Vec<String>, Vec<String>), ArtifactError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            // The outermost end has nothing before it to leave.
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(malformed)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(malformed)?;
                    if export.kind == ComponentExternalKind::Instance {
                        exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// Makes a component of a core module; a component stays as it is.
pub(super) fn componentize(
    bytes: &[u8],
    warnings: &mut Vec<String>,
) -> Result<Vec<u8>, ArtifactError> {
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(bytes)
        .map_err(malformed)?;
    let mut is_command = false;
    let mut has_realloc = false;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version {
                encoding: Encoding::Component,
                ..
            } => return Ok(bytes.to_vec()),
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.map_err(malformed)?;
                    if export.kind == ExternalKind::Func {
                        is_command |= export.name == "_start";
                        has_realloc |= export.name == "cabi_realloc";
                    }
                }
            }
            _ => {}
        }
    }
    if !has_realloc {
        warnings.push(
            "the module does not export cabi_realloc; if its C library is older than 2023, memory corruption is possible: link coracle-sdk or a newer wasi-libc"
                .to_owned(),
        );
    }
    let adapter = if is_command {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    let encode = || -> Result<Vec<u8>, anyhow::Error> {
        let redirected = exits::redirect(bytes)?;
        ComponentEncoder::default()
            .validate(true)
            .module(redirected.as_deref().unwrap_or(bytes))?
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?
            .encode()
    };
    encode().map_err(|error| {
        let text = format!("{error:#}");
        // The encoder's way to say that a core module imports something no adapter gives it.
        if text.contains("import") {
            ArtifactError::UnknownImport(text)
        } else {
            ArtifactError::Malformed(text)
        }
    })
}
