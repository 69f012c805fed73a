//! Debian's etcd, started for a test. Installed when it is missing and we may; where we may not, the tests that need it say so and check nothing.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How long a member may take until it listens.
const START: Duration = Duration::from_secs(30);

/// A running member. Clones are the same one; it ends with the last.
#[derive(Clone)]
pub(crate) struct Member {
    /// Where clients reach it.
    pub(crate) url: String,
    running: Arc<Running>,
}

struct Running {
    child: Mutex<Child>,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        // It may have been ended by the test.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Whether there is an etcd to start, installing it if need be.
fn is_installed() -> bool {
    static ONCE: Mutex<Option<bool>> = Mutex::new(None);
    let mut known = ONCE.lock().unwrap();
    *known.get_or_insert_with(|| {
        let found = || Command::new("etcd").arg("--version").output().is_ok();
        if !found() {
            // Only root can.
            let apt = Command::new("apt-get")
                .args([
                    "install",
                    "-y",
                    "--no-install-recommends",
                    "etcd-server",
                    "etcd-client",
                ])
                .output();
            drop(apt);
        }
        if !found() {
            eprintln!(
                "there is no etcd here and it can't be installed: the store on etcd is not tested"
            );
        }
        found()
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Member {
    /// A cluster of one.
    #[allow(dead_code, reason = "not every test that starts members starts one")]
    pub(crate) fn start() -> Option<Self> {
        Self::cluster(1, &[]).map(|mut members| members.remove(0))
    }

    /// A cluster of so many, with these arguments each.
    pub(crate) fn cluster(size: usize, arguments: &[String]) -> Option<Vec<Self>> {
        if !is_installed() {
            return None;
        }
        let scheme = if arguments
            .iter()
            .any(|argument| argument.starts_with("--cert-file"))
        {
            "https"
        } else {
            "http"
        };
        let ports: Vec<(u16, u16)> = (0..size).map(|_| (free_port(), free_port())).collect();
        let peers: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(number, (_, peer))| format!("m{number}=http://127.0.0.1:{peer}"))
            .collect();
        let members: Vec<Self> = ports
            .iter()
            .enumerate()
            .map(|(number, (client, peer))| {
                let url = format!("{scheme}://127.0.0.1:{client}");
                let peer = format!("http://127.0.0.1:{peer}");
                let folder = tempfile::tempdir_in("/dev/shm")
                    .or_else(|_| tempfile::tempdir())
                    .unwrap();
                let child = Command::new("etcd")
                    .args(["--name", &format!("m{number}")])
                    .args([
                        "--listen-client-urls",
                        &url,
                        "--advertise-client-urls",
                        &url,
                    ])
                    .args(["--listen-peer-urls", &peer])
                    .args(["--initial-advertise-peer-urls", &peer])
                    .args(["--initial-cluster", &peers.join(",")])
                    .args(arguments)
                    // 3.4 wants to be asked twice there.
                    .env("ETCD_UNSUPPORTED_ARCH", "arm64")
                    .arg("--data-dir")
                    .arg(folder.path().join("data"))
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                Self {
                    url,
                    running: Arc::new(Running {
                        child: Mutex::new(child),
                        _folder: folder,
                    }),
                }
            })
            .collect();
        let deadline = Instant::now() + START;
        for (client, _) in ports {
            while TcpStream::connect(("127.0.0.1", client)).is_err() {
                assert!(Instant::now() < deadline, "etcd does not start");
                std::thread::yield_now();
            }
        }
        Some(members)
    }

    /// Kills it.
    #[allow(dead_code, reason = "not every test that starts members kills them")]
    pub(crate) fn kill(&self) {
        let mut child = self.running.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
