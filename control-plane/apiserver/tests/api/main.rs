//! The API server's semantics, tested in process through its router and through kube's client. Nothing listens on a socket here.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod cluster;
mod frames;

mod access;
mod answers;
mod apply;
mod backup;
mod client;
mod create;
mod delete;
mod discovery;
mod limits;
mod list;
mod patch;
mod pods;
mod protobuf;
mod restart;
mod scale;
mod services;
mod update;
mod virtual_kinds;
mod watch;
