//! The benches: what Coracle does beside its peers, measured in one run on one machine. `cargo xtask bench NAME` builds and runs this.
//!
//! A bench prints figures with how they were come by; it fails when it could not measure, never because of a figure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench that cannot measure ends, and says why"
)]

mod apt;
mod figures;
mod http;
mod machine;
mod memory;
mod net;
mod pods;
mod schedule;
mod start;
mod wasmtime_serve;
mod wrk;

use clap::{Parser, Subcommand};

/// Benches of Coracle.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From creating a pod until it runs, at 1 and at 100 creates a second; memory of an idle cluster.
    Start,
    /// Requests through a Service from outside, beside `wasmtime serve` with the same component.
    Http,
    /// Pods a second that the scheduler decides, in clusters of 5,000 nodes.
    Schedule,
    /// The virtual network itself: looking up Services, round trips and bytes, beside the kernel's loopback.
    Net,
}

fn main() {
    let bench = Arguments::parse().bench;
    machine::describe();
    match bench {
        Bench::Start => {
            memory::run();
            start::run();
        }
        Bench::Http => http::run(),
        Bench::Schedule => schedule::run(),
        Bench::Net => net::run(),
    }
}
