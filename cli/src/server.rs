//! `coracle server`: a control plane without a node.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use coracle_control_plane::{Config, ControlPlane};

use crate::{etcd::EtcdArguments, private_file, signal};

/// The administrator's kubeconfig, in the data folder.
pub(crate) const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";

/// How a control plane is set up.
#[derive(Args)]
pub(crate) struct ServerArguments {
    /// Where everything that lasts is kept. Made if it is not there.
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-data")]
    pub(crate) data_dir: PathBuf,
    /// The address and port that the API is served on.
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Another host name or address that clients reach the server by: its certificate names them. May be given again.
    #[arg(long = "name")]
    names: Vec<String>,
}

impl ServerArguments {
    /// What the control plane is started with.
    pub(crate) fn config(&self) -> Config {
        Config {
            data_dir: self.data_dir.clone(),
            listen: self.listen,
            names: self.names.clone(),
            etcd: None,
        }
    }
}

/// How a control plane alone is set up.
#[derive(Args)]
pub(crate) struct AloneArguments {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    etcd: EtcdArguments,
}

/// Runs until asked to end.
pub(crate) async fn run(arguments: AloneArguments) -> anyhow::Result<()> {
    let config = Config {
        etcd: arguments.etcd.options()?,
        ..arguments.server.config()
    };
    let server = ControlPlane::start(&config).await?;
    let kubeconfig = announce(&server, &config.data_dir)?;
    println!("The API is served on {}", server.url());
    println!("export KUBECONFIG={}", kubeconfig.display());
    signal::asked_to_end().await.context("wait for a signal")?;
    server.stop().await;
    Ok(())
}

/// Writes the administrator's kubeconfig and returns where.
pub(crate) fn announce(server: &ControlPlane, data_dir: &Path) -> anyhow::Result<PathBuf> {
    let path = data_dir.join(ADMIN_KUBECONFIG);
    let text = server.credentials().admin_kubeconfig(&server.url())?;
    private_file::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
    Ok(fs::canonicalize(&path).unwrap_or(path))
}
