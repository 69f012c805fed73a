//! Logs of the process itself, on standard error. `CORACLE_LOG` filters them in the form of tracing's `EnvFilter`.

use tracing_subscriber::EnvFilter;

/// What is logged when nobody says: what an operator cares about, and other crates' warnings.
const DEFAULT_FILTER: &str = "warn,coracle=info";

/// Starts logging. To be called once.
pub(crate) fn start() {
    let filter =
        EnvFilter::try_from_env("CORACLE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
