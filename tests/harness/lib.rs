//! What black-box tests share: clusters in this process and in their own, the real kubectl, waiting.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: a broken fixture ends the test"
)]

pub mod cluster;
pub mod followed;
pub mod kubectl;
pub mod process;
pub mod request;
pub mod up;
pub mod wait;
