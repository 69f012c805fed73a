//! `cargo xtask bench store`: the store's figures on this disk, beside Debian's etcd when it is there or can be installed. The measuring is an
//! example of the store's crate, so that xtask itself stays small.

use std::process::Command;

use crate::{step, workspace};

/// Builds and runs it; the figures are printed as they come.
pub(crate) fn run() -> anyhow::Result<()> {
    step::run(
        Command::new("cargo")
            .args([
                "run",
                "--release",
                "--locked",
                "--package",
                "coracle-store",
                "--example",
                "bench",
            ])
            .current_dir(workspace::root()),
    )
}
