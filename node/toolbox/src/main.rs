//! The toolbox: a small shell and the usual commands in one module, for containers whose image is one module and nothing else. The first argument says which
//! command it is. Everything waits asynchronously, so that the commands of a pipeline run side by side in the one thread there is.

// As the SDK's: WASI's memory allocator must be the module's own.
extern crate coracle_sdk as _;

mod applets;
mod glob;
mod pipe;
mod shell;
mod stdin;
mod streams;

use std::process::ExitCode;

use shell::Shell;
use streams::{Input, Output};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let code = wstd::runtime::block_on(async {
        let mut shell = Shell::new(std::env::vars());
        applets::run(
            &mut shell,
            &args,
            Input::Stdin,
            Output::Stdout,
            Output::Stderr,
        )
        .await
    });
    // Exit codes have a byte.
    ExitCode::from(code.to_le_bytes()[0])
}
