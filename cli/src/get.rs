//! `coracle get --raw`: one GET on the API, its answer printed. For machines without kubectl, and for what kubectl has no words for.

use std::io::{self, Write};

use anyhow::Context;
use clap::Args;

use crate::{client::ClientArguments, failure};

/// What to get.
#[derive(Args)]
pub(crate) struct GetArguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The path, with its query: `/api/v1/namespaces/default/pods?limit=10`.
    #[arg(long, value_name = "PATH")]
    raw: String,
}

/// Prints what the API server answers.
pub(crate) async fn run(arguments: GetArguments) -> anyhow::Result<()> {
    let client = arguments.client.client().await?;
    let request = http::Request::get(&arguments.raw)
        .body(Vec::new())
        .with_context(|| format!("{:?} is no path of a URL", arguments.raw))?;
    let text = client
        .request_text(request)
        .await
        .map_err(failure::of_request)
        .with_context(|| format!("get {}", arguments.raw))?;
    Ok(writeln!(io::stdout(), "{}", text.trim_end())?)
}
