//! Write services that run as WASI modules in Coracle pods.
//!
//! What a service needs and no more, in reading order:
//!
//! - [`http`]: serve HTTP in a few lines, call other services.
//! - [`net`]: TCP servers and clients, service lookup.
//! - [`config`]: settings from the pod's environment and files.
//! - [`log`]: log lines the node keeps for `kubectl logs`.
//! - [`health`]: answers for liveness and readiness probes.
//! - [`shutdown`]: learning that the pod is to stop.
//! - [`run!`]: the entry point of a program with an async body.
//!
//! One source compiles for `wasm32-wasip1` and `wasm32-wasip2`: everything goes through WASI 0.2 interfaces, and a module built for
//! `wasip1` becomes a component when it is pushed or pulled.
//!
//! A program that uses none of it should still say `use coracle_sdk as _;`: linking the crate gives the module the `cabi_realloc` export
//! without which older WASI C libraries corrupt memory under the preview-1 adapter.
//!
//! ```no_run
//! use coracle_sdk::http::{Body, Error, Request, Response};
//!
//! coracle_sdk::serve!(hello);
//!
//! async fn hello(request: Request<Body>) -> Result<Response<Body>, Error> {
//!     Ok(Response::new(format!("hello from {}\n", request.uri().path()).into()))
//! }
//! ```

#![forbid(unsafe_code)]

pub mod config;
pub mod health;
pub mod http;
pub mod log;
pub mod net;
pub mod shutdown;

/// What the macros need; not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use wasip2;
    pub use wstd;
}

pub use wstd::runtime::spawn;
pub use wstd::time;

/// Makes an async function the program: `run!(main_task)` with `async fn main_task() -> Result<(), Error>`.
///
/// The process exits 0 when the function returns `Ok`, else 1 after logging the error.
///
/// ```no_run
/// coracle_sdk::run!(work);
///
/// async fn work() -> Result<(), coracle_sdk::http::Error> {
///     coracle_sdk::log::info("done");
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! run {
    ($task:path) => {
        fn main() -> ::std::process::ExitCode {
            match $crate::__private::wstd::runtime::block_on($task()) {
                ::std::result::Result::Ok(()) => ::std::process::ExitCode::SUCCESS,
                ::std::result::Result::Err(error) => {
                    $crate::log::error(&::std::format!("{error:#}"));
                    ::std::process::ExitCode::FAILURE
                }
            }
        }
    };
}
