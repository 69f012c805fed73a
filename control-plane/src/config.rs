//! How a control plane is set up. Every value is checked before anything is started.

use std::{net::SocketAddr, path::PathBuf};

use coracle_store::EtcdOptions;

/// The port that Kubernetes' API servers listen on.
pub const DEFAULT_PORT: u16 = 6443;

/// The settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything that lasts is kept.
    pub data_dir: PathBuf,
    /// Where the API is served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host names and addresses, besides those of `listen`, that clients reach the API server by: its certificate names them.
    pub names: Vec<String>,
    /// The etcd that objects are kept in; `None`: in the data folder.
    pub etcd: Option<EtcdOptions>,
}

impl Config {
    /// A control plane for this machine alone, with its data in `data_dir`.
    #[must_use]
    pub fn local(data_dir: PathBuf) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT));
        Self {
            data_dir,
            listen,
            names: Vec::new(),
            etcd: None,
        }
    }

    /// Where the store is.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    /// Where pushed images are.
    #[must_use]
    pub fn images_dir(&self) -> PathBuf {
        self.data_dir.join("registry")
    }

    /// Where keys and certificates are.
    #[must_use]
    pub fn pki_dir(&self) -> PathBuf {
        self.data_dir.join("pki")
    }
}
