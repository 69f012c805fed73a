//! The `coracle` command: everything a user installs. Parses what is asked for and hands it to the crate that does it.

mod apply;
mod client;
mod etcd;
mod failure;
mod get;
mod kubeconfig;
mod node;
mod node_settings;
mod private_file;
mod push;
mod server;
mod signal;
mod store;
mod telemetry;
mod tunnel;
mod up;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Kubernetes-style orchestration for WebAssembly.
///
/// Runs services compiled to wasm32-wasi as pods, behind the Kubernetes API: kubectl and its kin work unchanged.
#[derive(Parser)]
#[command(
    name = "coracle",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a whole cluster in one process: control plane and a node.
    ///
    /// Ready in about a second, needs no root. A kubeconfig for the administrator is written into the data folder; the line to copy is printed.
    /// Ctrl-C asks pods to end and stops; what was stored is there when it is started again.
    Up(up::UpArguments),
    /// Runs a control plane alone: API server, store, scheduler, controllers, image registry.
    ///
    /// Nodes are added with `coracle node`. A kubeconfig for the administrator is written into the data folder; point KUBECONFIG at it.
    Server(server::AloneArguments),
    /// Runs a node for a control plane elsewhere.
    ///
    /// On the control plane's machine: `coracle kubeconfig --node edge-1 -o edge-1.kubeconfig`. On the node's, with that file:
    /// `coracle node --kubeconfig edge-1.kubeconfig --pod-cidr 10.244.1.0/24`.
    Node(node::NodeArguments),
    /// Makes a kubeconfig from a control plane's data folder: for the administrator, a user with a token, or a node.
    Kubeconfig(kubeconfig::KubeconfigArguments),
    /// Makes an image of a wasm module and puts it into the cluster's registry.
    Push(push::PushArguments),
    /// Creates or changes what YAML files describe, where kubectl is not at hand.
    Apply(apply::ApplyArguments),
    /// Prints what the API answers at a path.
    Get(get::GetArguments),
    /// Checks, backs up, restores and compacts what a control plane stores.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Shows the version.
    Version,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::start();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if failure::is_unread(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", failure::told(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(arguments) => block_on(up::run(arguments)),
        Command::Push(arguments) => block_on(push::run(arguments)),
        Command::Server(arguments) => block_on(server::run(arguments)),
        Command::Node(arguments) => block_on(node::run(arguments)),
        Command::Kubeconfig(arguments) => kubeconfig::run(arguments),
        Command::Apply(arguments) => block_on(apply::run(arguments)),
        Command::Get(arguments) => block_on(get::run(arguments)),
        Command::Store(command) => block_on(store::run(command)),
        Command::Version => Ok(writeln!(
            io::stdout(),
            "coracle {}",
            env!("CARGO_PKG_VERSION")
        )?),
    }
}

fn block_on(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    runtime.block_on(task)
}
