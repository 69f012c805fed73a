//! The whole test suite, in the order that fails soonest. CI runs this and nothing else.

use std::process::Command;

use anyhow::Context;

use crate::{guests, licences, step, tidy, workspace};

/// Runs everything.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = workspace::root();
    step::run(cargo().args(["fmt", "--all", "--check"]))?;
    for manifest in guests::manifests() {
        step::run(
            cargo()
                .args(["fmt", "--all", "--check", "--manifest-path"])
                .arg(manifest),
        )?;
    }
    tidy::check().context("tidy")?;
    licences::check()?;
    guests::build_locked()?;
    // One build compiles, lints and yields the tests: see docs/adr/0004.
    step::run(linted(cargo().args([
        "build",
        "--release",
        "--workspace",
        "--bins",
        // With the tests: development dependencies switch features on, and what was built without them would be built again.
        "--tests",
        "--locked",
    ])))?;
    step::run(linted(cargo().args([
        "test",
        "--release",
        "--workspace",
        "--locked",
        "--no-fail-fast",
    ])))?;
    step::run(
        cargo()
            .args([
                "test",
                "--doc",
                "--locked",
                "--package",
                "coracle-sdk",
                "--manifest-path",
            ])
            .arg(root.join("examples/Cargo.toml")),
    )
}

fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace::root());
    command
}

/// Makes clippy the compiler of the workspace's own crates, and its warnings errors.
fn linted(command: &mut Command) -> &mut Command {
    command
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__")
}
