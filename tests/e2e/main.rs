//! Whole clusters, as users see them: real modules in real pods, over the command line and HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod access;
mod bad_input;
mod examples;
mod kubectl;
mod nodes;
mod readme;
mod streams;
