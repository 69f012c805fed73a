//! Builds guests for wasm32-wasi. Finds a toolchain first: the target of the installed Rust, else rustup adds it, else Debian's
//! packages, which are installed when that is possible without asking; otherwise one line says what to install.

mod toolchain;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{step, workspace};
use toolchain::Toolchain;

/// The cargo workspaces that hold guests.
const WORKSPACES: [&str; 3] = ["examples", "node/toolbox", "tests/fixtures/guests"];

/// Builds every guest into `target/guests/NAME.wasm`.
pub(crate) fn build() -> anyhow::Result<()> {
    build_with(&[])
}

/// The same, with the dependencies that the repository's lock files name and no others: where a new crate among the guests would be news.
pub(crate) fn build_locked() -> anyhow::Result<()> {
    build_with(&["--locked"])
}

fn build_with(locked: &[&str]) -> anyhow::Result<()> {
    let toolchain = Toolchain::find()?;
    let out = workspace::guests();
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    for manifest in manifests() {
        build_workspace(&toolchain, &manifest, &out, locked)?;
    }
    Ok(())
}

/// The manifests of the cargo workspaces that hold guests.
pub(crate) fn manifests() -> Vec<PathBuf> {
    let manifests = WORKSPACES.map(|folder| workspace::root().join(folder).join("Cargo.toml"));
    manifests
        .into_iter()
        .filter(|manifest| manifest.exists())
        .collect()
}

fn build_workspace(
    toolchain: &Toolchain,
    manifest: &Path,
    out: &Path,
    locked: &[&str],
) -> anyhow::Result<()> {
    let build = workspace::target().join("guests-build");
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--release"])
        .args(locked)
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(&build);
    let folder = manifest
        .parent()
        .unwrap_or(manifest)
        .strip_prefix(workspace::root())
        .unwrap_or(manifest);
    step::quietly(
        &format!("build {} for {}", folder.display(), Toolchain::TARGET),
        &mut cargo,
    )?;
    let built = build.join(Toolchain::TARGET).join("release");
    for entry in fs::read_dir(&built).with_context(|| format!("list {}", built.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            install(&path, out)?;
        }
    }
    Ok(())
}

/// Copies a module to the guests' folder when it differs, so that time stamps say when a guest last changed.
fn install(module: &Path, out: &Path) -> anyhow::Result<()> {
    let Some(name) = module.file_name() else {
        return Ok(());
    };
    // Artifact names use dashes, as image names do; rustc writes underscores for libraries.
    let target = out.join(name.to_string_lossy().replace('_', "-"));
    let new = fs::read(module).with_context(|| format!("read {}", module.display()))?;
    if fs::read(&target).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(&target, new).with_context(|| format!("write {}", target.display()))
}
