//! Licences, bans and sources of the dependency tree, as `deny.toml` allows them, by cargo-deny. It is installed into the target folder when
//! the machine has none. Advisories need a database from the network and are checked by `cargo deny check advisories` where there is one.

use std::{path::PathBuf, process::Command};

use crate::{step, workspace};

/// The release that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// Checks the tree.
pub(crate) fn check() -> anyhow::Result<()> {
    let deny = installed()?;
    let mut command = Command::new(deny);
    command
        .args([
            "--log-level",
            "error",
            "check",
            "--hide-inclusion-graph",
            "licenses",
            "bans",
            "sources",
        ])
        .current_dir(workspace::root());
    step::run(&mut command)
}

fn installed() -> anyhow::Result<PathBuf> {
    let tools = workspace::target().join("tools");
    for candidate in [PathBuf::from("cargo-deny"), tools.join("bin/cargo-deny")] {
        if step::output(Command::new(&candidate).arg("--version"))
            .is_some_and(|version| version.contains(VERSION))
        {
            return Ok(candidate);
        }
    }
    let mut install = Command::new("cargo");
    install
        .args([
            "install",
            "cargo-deny",
            "--version",
            VERSION,
            "--locked",
            "--no-default-features",
            "--root",
        ])
        .arg(&tools);
    install.arg("--target-dir").arg(tools.join("build"));
    step::quietly("install cargo-deny", &mut install)?;
    Ok(tools.join("bin/cargo-deny"))
}
