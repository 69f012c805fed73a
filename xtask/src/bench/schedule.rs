//! `cargo xtask bench schedule`: how fast the scheduler decides. Needs nothing but the scheduler itself, so that it is built and run alone.

use std::process::Command;

use crate::{step, workspace};

/// Builds and measures.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "run",
        "--release",
        "-p",
        "coracle-scheduler",
        "--example",
        "schedule",
    ]);
    step::run(cargo.current_dir(workspace::root()))
}
