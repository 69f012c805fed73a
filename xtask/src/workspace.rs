//! Where things are: the repository's root and the directory that builds go to.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    // Cargo says for which package it runs this; the repository may have moved since it was compiled.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo puts its output: `CARGO_TARGET_DIR`, else `target` in the root.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Where built guests lie, as `NAME.wasm`.
pub(crate) fn guests() -> PathBuf {
    target().join("guests")
}

/// The command that builds every program in the profile that tests use as well.
pub(crate) fn build() -> Command {
    let mut build = Command::new("cargo");
    build
        .current_dir(root())
        .args(["build", "--release", "--workspace", "--bins", "--locked"]);
    build
}
