//! The API as unmodified clients see it. kubectl is the judge, in every version at hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod kubectl;
mod support;
