//! `coracle up` as a process of its own, as a user runs it: with its data in a folder that goes with it, on loopback.

use std::{
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use crate::{kubectl::Kubectl, wait::eventually};

/// Node ports are opened on an address of each cluster's own, so that tests can run side by side.
static NEXT: AtomicU8 = AtomicU8::new(2);

/// A cluster in a process.
#[derive(Debug)]
pub struct Up {
    folder: TempDir,
    child: Option<Child>,
    address: Ipv4Addr,
}

impl Up {
    /// Starts one. The API answers when this returns.
    #[must_use]
    pub fn start() -> Self {
        let address = Ipv4Addr::new(127, 0, 77, NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let mut up = Self {
            folder,
            child: None,
            address,
        };
        up.run();
        up
    }

    fn run(&mut self) {
        let mut child = Command::new(program())
            .args(["up", "--listen", "127.0.0.1:0", "--node-name", "edge"])
            .args(["--node-ports", &self.address.to_string()])
            .arg("--data-dir")
            .arg(self.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.any(|line| line.unwrap().starts_with("export KUBECONFIG="));
        self.child = Some(child);
        assert!(told, "coracle up ended before it was ready");
        // Nobody reads further; a full pipe must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
    }

    /// Ends it without warning (SIGKILL) and starts it again on the same data.
    pub fn kill_and_start(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.run();
    }

    /// Asks it to end (SIGINT) and waits until it has. Says whether it exited with 0.
    #[must_use]
    pub fn interrupt(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        eventually("coracle up ends", || child.try_wait().unwrap()).success()
    }

    /// The administrator's kubectl.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new("kubectl", &self.folder.path().join("admin.kubeconfig"))
    }

    /// Pushes a guest of `target/guests` as an image.
    pub fn push(&self, image: &str, guest: &str) {
        let folder = program().parent().unwrap().parent().unwrap().join("guests");
        let said = self.try_push(image, &folder.join(format!("{guest}.wasm")));
        assert!(
            said.is_ok(),
            "push {guest}: {said:?}; cargo xtask guests builds them"
        );
    }

    /// Pushes a file as an image.
    ///
    /// # Errors
    /// What `coracle push` said.
    pub fn try_push(&self, image: &str, file: &Path) -> Result<(), String> {
        let output = Command::new(program())
            .args(["push", "--kubeconfig"])
            .arg(self.folder.path().join("admin.kubeconfig"))
            .arg(image)
            .arg(file)
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Where a node port is reached.
    #[must_use]
    pub fn node_port(&self, port: u16) -> String {
        format!("{}:{port}", self.address)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The command, built beside the tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("coracle");
    assert!(
        program.exists(),
        "these tests run {}: build it with cargo build --release --workspace --bins",
        program.display()
    );
    program
}

/// One HTTP/1.1 request; the answer as it came, head and body. Nothing when nobody answers.
#[must_use]
pub fn http(address: &str, method: &str, path: &str, body: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let length = body.len();
    let form = "application/x-www-form-urlencoded";
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: {form}\r\ncontent-length: {length}\r\n\r\n{body}").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
}
