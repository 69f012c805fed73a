//! `cargo xtask bench NAME`: builds everything in release and hands over to the program that measures (`tests/bench`), which shares its build with the tests.

mod schedule;

use std::process::Command;

use crate::{guests, step, workspace};

/// Builds and measures.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if arguments == ["schedule"] {
        return schedule::run();
    }
    guests::build()?;
    step::quietly("build coracle and its benches", &mut workspace::build())?;
    step::run(Command::new(workspace::target().join("release/coracle-bench")).args(arguments))
}
