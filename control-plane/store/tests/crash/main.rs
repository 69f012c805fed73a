//! What the store says is durable is there after anything: kills, power cuts, full disks, damaged files. Kills and cuts are of real processes on
//! real files; how many is set in the environment, see `rounds`, so that `cargo xtask torture` does the same for longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod chance;
mod child;
mod damage;
mod disk;
mod fault;
mod folder;
mod incidents;
mod kill;
mod power_cut;
mod tracer;
mod workload;

/// A number from the environment.
fn rounds(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect(variable))
}
