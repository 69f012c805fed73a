//! `coracle server`.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use coracle_control_plane::{Config, ControlPlane};

use crate::signal;

/// What a server is told.
#[derive(Args)]
pub(crate) struct ServerArguments {
    /// Where everything that lasts is kept.
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-data")]
    data_dir: PathBuf,
    /// The address and port that the API is served on.
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Another host name or address that clients reach the server by; may be given again.
    #[arg(long = "name")]
    names: Vec<String>,
}

/// Runs until asked to end.
pub(crate) fn run(arguments: ServerArguments) -> anyhow::Result<()> {
    let config = Config {
        data_dir: arguments.data_dir,
        listen: arguments.listen,
        names: arguments.names,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    runtime.block_on(async {
        let server = ControlPlane::start(&config).await?;
        let path = config.data_dir.join("admin.kubeconfig");
        write_private(&path, &server.admin_kubeconfig()?)
            .with_context(|| format!("write {}", path.display()))?;
        println!("The API is served on https://{}", server.address());
        println!(
            "export KUBECONFIG={}",
            fs::canonicalize(&path).unwrap_or(path).display()
        );
        signal::asked_to_end().await.context("wait for a signal")?;
        server.stop().await;
        Ok(())
    })
}

/// Writes what only its owner may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    fs::rename(aside, path)
}
