//! Compiled code on disk. The folder belongs to this process's user alone, because what is in it is run as native code.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use wasmtime::{Engine, component::Component};

/// Makes the folder, for its owner's eyes and hands only.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// The component of `key` with the warnings noted at its compilation. `None` when there is none, or none this engine takes: it is made anew then.
pub(super) fn load(engine: &Engine, folder: &Path, key: &str) -> Option<(Component, Vec<String>)> {
    let path = folder.join(format!("{key}.cwasm"));
    if !path.exists() {
        return None;
    }
    let warnings = fs::read_to_string(folder.join(format!("{key}.notes"))).unwrap_or_default();
    match open(engine, &path) {
        Ok(component) => Some((component, warnings.lines().map(str::to_owned).collect())),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "compiled code is not usable and is made anew");
            None
        }
    }
}

/// Keeps compiled code and opens it.
pub(super) fn store(
    engine: &Engine,
    folder: &Path,
    key: &str,
    code: &[u8],
    warnings: &[String],
) -> Result<Component, String> {
    let path = folder.join(format!("{key}.cwasm"));
    write(folder, &path, code)
        .map_err(|error| format!("keep compiled code in {}: {error}", folder.display()))?;
    if !warnings.is_empty() {
        let notes = folder.join(format!("{key}.notes"));
        write(folder, &notes, warnings.join("\n").as_bytes())
            .map_err(|error| format!("keep {}: {error}", notes.display()))?;
    }
    open(engine, &path).map_err(|error| format!("open compiled code: {error:#}"))
}

/// Either all of the file is there or nothing.
fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile_in(folder)?;
    file.1.write_all(bytes)?;
    file.1.sync_all()?;
    fs::rename(&file.0, path)
}

fn tempfile_in(folder: &Path) -> io::Result<(std::path::PathBuf, File)> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "new-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let path = folder.join(name);
    let file = File::create(&path)?;
    Ok((path, file))
}

#[allow(unsafe_code, reason = "mapping compiled code is unsafe by nature")]
fn open(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file was written by `store` of this user into a folder that only this user can write to ([`make`]), is never changed after its
    // rename, and wasmtime checks that it was compiled for this engine.
    unsafe { Component::deserialize_file(engine, path) }
}
