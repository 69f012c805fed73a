//! The real kubectl, run against a cluster. Where there is none it is installed from Debian's packages; where that can't be, the test fails and says so.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Once,
};

use crate::followed::Followed;

/// A kubectl with a kubeconfig.
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: tempfile::TempDir,
}

/// What a kubectl said.
#[derive(Debug)]
pub struct Said {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Kubectl {
    pub(crate) fn new(program: impl AsRef<OsStr>, kubeconfig: &Path) -> Self {
        ensure_installed();
        let home = tempfile::tempdir().unwrap();
        Self {
            program: PathBuf::from(program.as_ref()),
            kubeconfig: kubeconfig.to_owned(),
            home,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // A home of its own: discovery is cached there, and tests must not see each other's.
        command
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            // An editor that changes nothing.
            .env("KUBE_EDITOR", "true")
            .args(arguments);
        command
    }

    /// Runs a command that may fail.
    #[must_use]
    pub fn try_run(&self, arguments: &[&str]) -> Said {
        said(
            self.command(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    }

    /// Runs a command that must not fail, and returns what it printed.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> String {
        let said = self.try_run(arguments);
        assert!(
            said.ok,
            "kubectl {}: {}{}",
            arguments.join(" "),
            said.out,
            said.err
        );
        said.out
    }

    /// Starts a command that goes on.
    #[must_use]
    pub fn follow(&self, arguments: &[&str]) -> Followed {
        Followed::start(self.command(arguments))
    }

    /// The same with another bearer token in its kubeconfig.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        let text = std::fs::read_to_string(&self.kubeconfig).unwrap();
        let lines = text.lines().map(|line| {
            if line.trim_start().starts_with("token:") {
                format!("    token: {token:?}")
            } else {
                line.to_owned()
            }
        });
        let kubeconfig = self.home.path().join("kubeconfig");
        std::fs::write(&kubeconfig, lines.collect::<Vec<_>>().join("\n")).unwrap();
        Self { kubeconfig, ..self }
    }

    /// Runs a command with a manifest on standard input.
    #[must_use]
    pub fn feed(&self, arguments: &[&str], manifest: &str) -> Said {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(manifest.as_bytes()).unwrap();
        drop(stdin);
        said(child.wait_with_output().unwrap())
    }

    /// Applies a manifest, which must succeed, and returns what was printed.
    #[must_use]
    pub fn apply(&self, manifest: &str) -> String {
        let said = self.feed(&["apply", "-f", "-"], manifest);
        assert!(said.ok, "kubectl apply: {}{}", said.out, said.err);
        said.out
    }

    /// The version, `1.32`.
    #[must_use]
    pub fn version(&self) -> String {
        let json: serde_json::Value =
            serde_json::from_str(&self.run(&["version", "--client", "-o", "json"])).unwrap();
        let part = |name: &str| {
            json.pointer(&format!("/clientVersion/{name}"))
                .and_then(|part| part.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        format!("{}.{}", part("major"), part("minor").trim_end_matches('+'))
    }
}

fn said(output: Output) -> Said {
    Said {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Every kubectl at hand: the one on PATH, and those of other versions beside it.
#[must_use]
pub fn all() -> Vec<PathBuf> {
    ensure_installed();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|candidate| candidate.is_file());
    let Some(first) = found else {
        return Vec::new();
    };
    let real = first.canonicalize().unwrap_or_else(|_| first.clone());
    let mut programs = vec![first];
    let beside = real
        .parent()
        .and_then(|folder| std::fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .flatten();
    let mut others: Vec<PathBuf> = beside
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("kubectl."))
        })
        .collect();
    others.sort();
    programs.extend(others);
    programs
}

fn ensure_installed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let there = || {
            Command::new("kubectl")
                .args(["version", "--client"])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        if there() {
            return;
        }
        let apt = |arguments: &[&str]| {
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(arguments)
                .output()
        };
        let installed = apt(&["-q", "update"]).and_then(|_| {
            apt(&[
                "-q",
                "install",
                "-y",
                "--no-install-recommends",
                "kubernetes-client",
            ])
        });
        assert!(
            installed.is_ok() && there(),
            "these tests need kubectl: install it, for example Debian's package kubernetes-client"
        );
    });
}
