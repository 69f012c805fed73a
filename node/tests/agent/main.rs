//! The agent against the API server and the registry, all in this process: pods are created through the API, real guests run, and what the API says of them
//! is looked at. Guests come from `cargo xtask guests`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod cluster;
mod objects;

mod configured;
mod failing;
mod linked;
mod networked;
mod probed;
mod restarted;
mod running;
