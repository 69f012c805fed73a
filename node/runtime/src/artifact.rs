//! From a module's bytes to something that starts in microseconds: checks what it is, makes a component of a core module, finds out whether the
//! host offers what it imports, compiles once, and keeps the compiled code on disk. Bytes are hostile.

mod cache;
mod exits;
mod inspect;

pub use inspect::{Inspection, inspect};

pub(crate) use cache::make as make_folder;

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::Arc,
};

use sha2::{Digest, Sha256};
use wasmtime::{
    Engine,
    component::{Component, InstancePre, Linker},
};

use crate::host::Host;

/// The largest module taken. Compiling takes about 1.2 s per MiB.
pub const SIZE_LIMIT: usize = 64 << 20;

/// Changes whenever [`inspect`] makes something else of the same bytes.
const ENCODING: u32 = 2;

/// What kind of container a component makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// A program: runs until it ends.
    Command,
    /// Answers HTTP requests that the host takes for it.
    HttpHandler,
}

/// Something runnable.
pub struct Artifact {
    /// Of the bytes it was made of, `sha256:...`.
    pub digest: String,
    /// What kind of container it makes.
    pub kind: ContainerKind,
    /// What its author should know.
    pub warnings: Vec<String>,
    pub(crate) pre: InstancePre<Host>,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact")
            .field("digest", &self.digest)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why bytes can't be run. All but `Host` are the fault of the bytes and final.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// They do not begin as WebAssembly does.
    #[error("this is not a WebAssembly module: it does not begin with \\0asm")]
    NotWasm,
    /// They are damaged, or no valid module or component.
    #[error("the module is malformed or cut short: {0}")]
    Malformed(String),
    /// They are more than [`SIZE_LIMIT`].
    #[error("the module has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// How many there are.
        size: usize,
        /// How many may be.
        limit: usize,
    },
    /// They import what the host does not offer.
    #[error("the module imports what no node offers: {0}")]
    UnknownImport(String),
    /// They export neither a program nor an HTTP handler.
    #[error(
        "the module is neither a program (wasi:cli/run or _start) nor an HTTP handler (wasi:http/incoming-handler)"
    )]
    NoEntry,
    /// They can't be compiled.
    #[error("the module cannot be compiled: {0}")]
    Uncompilable(String),
    /// The host failed; may work later.
    #[error("{0}")]
    Host(String),
}

/// Prepares bytes, from the cache in `folder` if they were prepared before. Takes seconds for large modules: call it where that does not hurt.
pub(crate) fn prepare(
    engine: &Engine,
    linker: &Linker<Host>,
    folder: &Path,
    bytes: &[u8],
) -> Result<Arc<Artifact>, ArtifactError> {
    if bytes.len() > SIZE_LIMIT {
        return Err(ArtifactError::TooLarge {
            size: bytes.len(),
            limit: SIZE_LIMIT,
        });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ArtifactError::NotWasm);
    }
    let digest = hex(&Sha256::digest(bytes));
    let mut warnings = Vec::new();
    let component = match cache::load(engine, folder, &key(engine, &digest)) {
        Some((component, kept)) => {
            warnings = kept;
            component
        }
        None => {
            let encoded = inspect::componentize(bytes, &mut warnings)?;
            let code = engine
                .precompile_component(&encoded)
                .map_err(|error| ArtifactError::Uncompilable(format!("{error:#}")))?;
            let stored = cache::store(engine, folder, &key(engine, &digest), &code, &warnings)
                .map_err(ArtifactError::Host)?;
            drop((encoded, code));
            give_memory_back();
            stored
        }
    };
    let kind = kind(engine, &component)?;
    let pre = linker
        .instantiate_pre(&component)
        .map_err(|error| ArtifactError::UnknownImport(import_of(&format!("{error:#}"))))?;
    Ok(Arc::new(Artifact {
        digest: format!("sha256:{digest}"),
        kind,
        warnings,
        pre,
    }))
}

/// Gives the system back what compiling took and the allocator keeps: tens of megabytes, on nodes that compile once and then run for months.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "the allocator's own interface")]
    // SAFETY: the function takes no pointer and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Names the compiled form of a module: the module, how a component is made of it, and everything about the engine that the code depends on.
fn key(engine: &Engine, digest: &str) -> String {
    let mut hasher = DefaultHasher::new();
    ENCODING.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}", hasher.finish())
}

fn kind(engine: &Engine, component: &Component) -> Result<ContainerKind, ArtifactError> {
    let of = component.component_type();
    inspect::kind(of.exports(engine).map(|(name, _)| name)).ok_or(ArtifactError::NoEntry)
}

/// The import that a linker's message names between backticks, or the message.
fn import_of(message: &str) -> String {
    message
        .split('`')
        .nth(1)
        .map_or_else(|| message.to_owned(), str::to_owned)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
