//! The `coracle` command: everything a user installs. Parses what is asked for and hands it to the crate that does it.

mod server;
mod signal;
mod telemetry;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Kubernetes-style orchestration for WebAssembly.
#[derive(Parser)]
#[command(name = "coracle", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a control plane: API server, store.
    ///
    /// Writes a kubeconfig for its administrator into the data folder; point KUBECONFIG at it.
    Server(server::ServerArguments),
    /// Shows the version.
    Version,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::start();
    let done = match arguments.command {
        Command::Server(arguments) => server::run(arguments),
        Command::Version => {
            println!("coracle {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
