//! The way to a cluster: a kubeconfig, found as kubectl finds it, made into a client. Errors say what to do about them.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Which cluster, as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientArguments {
    /// The kubeconfig. Left out: those in the environment variable KUBECONFIG, else ~/.kube/config.
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context to use, if not its current one.
    #[arg(long)]
    pub(crate) context: Option<String>,
}

impl ClientArguments {
    /// The connection's settings.
    ///
    /// # Errors
    /// When there is no kubeconfig, or it cannot be read.
    pub(crate) async fn config(&self) -> anyhow::Result<kube::Config> {
        let found = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .with_context(|| format!("read the kubeconfig {}", path.display()))?,
            None => Kubeconfig::read().context(
                "find a kubeconfig: name one with --kubeconfig or the environment variable KUBECONFIG; `coracle up` prints the line to copy",
            )?,
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        kube::Config::from_custom_kubeconfig(found, &options)
            .await
            .context("use the kubeconfig")
    }

    /// A client.
    ///
    /// # Errors
    /// As [`ClientArguments::config`].
    pub(crate) async fn client(&self) -> anyhow::Result<kube::Client> {
        kube::Client::try_from(self.config().await?).context("prepare the connection")
    }
}
