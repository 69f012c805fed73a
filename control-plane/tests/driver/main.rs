//! The controllers at work: the real API server on a store in memory, the real controllers, the driver between them. No nodes: tests say themselves how pods
//! are doing.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod cluster;

mod autoscaling;
mod collection;
mod election;
mod events;
mod losses;
mod namespaces;
mod scheduling;
mod scripts;
mod services;
mod workloads;
