//! A cluster for one test, on loopback, with its data in a folder that goes with it.

use coracle_control_plane::{Config, ControlPlane};
use tempfile::TempDir;

use crate::kubectl::Kubectl;

/// A control plane and its administrator's kubectl.
pub struct Cluster {
    runtime: tokio::runtime::Runtime,
    server: Option<ControlPlane>,
    folder: TempDir,
}

impl Cluster {
    /// Starts one. The API answers when this returns.
    #[must_use]
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            runtime,
            server: None,
            folder,
        };
        cluster.open();
        cluster
    }

    fn open(&mut self) {
        let mut config = Config::local(self.folder.path().join("data"));
        config.listen.set_port(0);
        let server = self.runtime.block_on(ControlPlane::start(&config)).unwrap();
        let kubeconfig = server
            .credentials()
            .admin_kubeconfig(&server.url())
            .unwrap();
        std::fs::write(self.folder.path().join("kubeconfig"), kubeconfig).unwrap();
        self.server = Some(server);
    }

    /// Stops it in order and starts it again on the same data.
    pub fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
        self.open();
    }

    /// The control plane.
    ///
    /// # Panics
    /// When it is not running.
    #[must_use]
    pub fn server(&self) -> &ControlPlane {
        self.server.as_ref().unwrap()
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The administrator's kubectl: the one on PATH.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new("kubectl", &self.folder.path().join("kubeconfig"))
    }

    /// The administrator's kubectl of another version.
    #[must_use]
    pub fn kubectl_at(&self, program: &std::path::Path) -> Kubectl {
        Kubectl::new(program, &self.folder.path().join("kubeconfig"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}
