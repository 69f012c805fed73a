//! `cargo xtask`: everything a developer runs, in one place, so that what CI runs and what you run is the same thing.

mod bench;
mod demo;
mod guests;
mod licences;
mod step;
mod test;
mod tidy;
mod torture;
mod upstream;
mod workspace;

use clap::{Parser, Subcommand};

/// Developer tasks of Coracle.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds everything, starts a cluster with the examples in it, and shows it.
    Demo {
        /// Ends after the requests; fails if any of them did.
        #[arg(long)]
        check: bool,
    },
    /// Runs the whole test suite, as CI does.
    Test,
    /// Measures Coracle beside its peers and prints the figures; `cargo xtask bench help` lists what there is.
    Bench {
        /// The bench's name and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Checks the repository's own rules.
    Tidy,
    /// Makes the table of fields from the Go modules of Kubernetes in a folder.
    Upstream {
        /// The folder, `k8s.io`.
        folder: std::path::PathBuf,
    },
    /// Kills the store, cuts its power and damages its files until the time is up.
    Torture {
        /// For how long; at least one round is done.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
        /// The first round's seed, as a failure printed it.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Builds the guests (examples and test fixtures) for wasm32-wasi into target/guests.
    Guests,
}

fn main() -> std::process::ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Demo { check } => demo::run(check),
        Task::Bench { arguments } => bench::run(&arguments),
        Task::Test => test::run(),
        Task::Tidy => tidy::check(),
        Task::Torture { minutes, seed } => torture::run(minutes, seed),
        Task::Guests => guests::build(),
        Task::Upstream { folder } => upstream::generate(&folder),
    }
}
