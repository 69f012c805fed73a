//! What black-box tests share: a control plane in the process, the real kubectl.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: a broken fixture ends the test"
)]

pub mod cluster;
pub mod kubectl;
pub mod process;
