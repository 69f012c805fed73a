//! Real guests under the real runtime, a behaviour each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod commands;
mod harness;
mod hostile;
mod http;
mod limits;
mod network;
mod programs;
mod sockets;
