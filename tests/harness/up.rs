//! `coracle up`, as a user runs it: with its data in a folder that goes with it, on loopback; and nodes that join it.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU8, Ordering},
};

use tempfile::TempDir;

use crate::{
    kubectl::Kubectl,
    process::{Process, program},
};

/// Node ports are opened on an address of each cluster's own, so that tests can run side by side.
static NEXT: AtomicU8 = AtomicU8::new(2);

/// A cluster in a process.
#[derive(Debug)]
pub struct Up {
    process: Process,
    folder: TempDir,
    address: Ipv4Addr,
}

impl Up {
    /// Starts one. The API answers when this returns.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further arguments of `coracle up`.
    #[must_use]
    pub fn start_with(more: &[&str]) -> Self {
        let address = Ipv4Addr::new(127, 0, 77, NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let node_ports = address.to_string();
        let data_dir = text(&folder.path().join("data"));
        let listen = ["up", "--listen", "127.0.0.1:0", "--data-dir", &data_dir];
        let node = ["--node-name", "edge", "--node-ports", &node_ports];
        let all = listen.into_iter().chain(node).chain(more.iter().copied());
        let arguments = all.map(str::to_owned).collect();
        Self {
            process: Process::start(arguments, "export KUBECONFIG="),
            folder,
            address,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data().join("admin.kubeconfig")
    }

    /// The administrator's kubectl.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new("kubectl", &self.admin_kubeconfig())
    }

    /// The administrator's kubectl of another version.
    #[must_use]
    pub fn kubectl_at(&self, program: &Path) -> Kubectl {
        Kubectl::new(program, &self.admin_kubeconfig())
    }

    /// A kubectl for whom `coracle kubeconfig` with these arguments makes a kubeconfig, written to a file called `name`.
    #[must_use]
    pub fn kubectl_as(&self, name: &str, arguments: &[&str]) -> Kubectl {
        Kubectl::new("kubectl", &self.kubeconfig(name, arguments))
    }

    fn kubeconfig(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.kubeconfig"));
        let made = Command::new(program())
            .args(["kubeconfig", "--data-dir"])
            .arg(self.data())
            .arg("--output")
            .arg(&file)
            .args(arguments)
            .output();
        said(&made.unwrap()).unwrap();
        file
    }

    /// Starts `coracle node` for it.
    #[must_use]
    pub fn join(&self, name: &str, pod_cidr: &str) -> Process {
        let kubeconfig = text(&self.kubeconfig(name, &["--node", name]));
        let data_dir = text(&self.folder.path().join(name));
        let cluster = ["node", "--kubeconfig", &kubeconfig];
        let own = ["--data-dir", &data_dir, "--pod-cidr", pod_cidr];
        let arguments = cluster.into_iter().chain(own).map(str::to_owned).collect();
        Process::start(arguments, "Node ")
    }

    /// Pushes a guest of `target/guests` as an image.
    ///
    /// # Panics
    /// When that fails.
    pub fn push(&self, image: &str, guest: &str) {
        let pushed = self.try_push("admin", image, &guest_file(guest));
        assert!(
            pushed.is_ok(),
            "push {guest}: {pushed:?}; cargo xtask guests builds them"
        );
    }

    /// Pushes a file that cannot run, as tools do that do not look.
    ///
    /// # Panics
    /// When that fails.
    pub fn push_unchecked(&self, image: &str, file: &Path) {
        let pushed = self.push_as(&self.admin_kubeconfig(), &["--unchecked"], image, file);
        pushed.unwrap();
    }

    /// Pushes a file as an image, as `admin` or as whom [`Up::kubectl_as`] made a kubeconfig of that name for.
    ///
    /// # Errors
    /// What `coracle push` said.
    pub fn try_push(&self, name: &str, image: &str, file: &Path) -> Result<(), String> {
        let kubeconfig = if name == "admin" {
            self.admin_kubeconfig()
        } else {
            self.folder.path().join(format!("{name}.kubeconfig"))
        };
        self.push_as(&kubeconfig, &[], image, file)
    }

    fn push_as(
        &self,
        kubeconfig: &Path,
        more: &[&str],
        image: &str,
        file: &Path,
    ) -> Result<(), String> {
        let pushed = Command::new(program())
            .args(["push", "--kubeconfig"])
            .arg(kubeconfig)
            .args(more)
            .arg(image)
            .arg(file)
            .output();
        said(&pushed.unwrap())
    }

    /// Where a node port is reached.
    #[must_use]
    pub fn node_port(&self, port: u16) -> String {
        format!("{}:{port}", self.address)
    }
}

/// The module of a guest, built by `cargo xtask guests`.
#[must_use]
pub fn guest_file(guest: &str) -> PathBuf {
    let target = program().parent().unwrap().parent().unwrap().to_owned();
    target.join("guests").join(format!("{guest}.wasm"))
}

fn said(output: &Output) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
