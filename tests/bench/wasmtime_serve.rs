//! The peer for HTTP: `wasmtime serve` of the newest 48, built once into a folder of its own so that its features do not mix with Coracle's.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use coracle_tests::{process::program, wait::eventually};

/// What `serve` needs of the command, with its compiler.
const FEATURES: &str = "run,serve,wasi-http,cranelift,component-model,component-model-async,pooling-allocator,parallel-compilation,demangle";
/// Where it listens.
pub(crate) const ADDRESS: &str = "127.0.0.1:18048";

/// A running server. Killed when dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Serves a component; `options` are wasmtime's.
    pub(crate) fn start(component: &Path, options: &[&str]) -> Self {
        let child = Command::new(installed())
            .arg("serve")
            // Modules made components by the preview-1 adapter import the command line's interfaces.
            .args(["-Scli", "-Opooling-allocator=y", "--addr", ADDRESS])
            .args(options)
            .arg(component)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self(child);
        eventually("wasmtime serve listens", || {
            TcpStream::connect(ADDRESS).ok()
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command's path; built when it is not there, which takes a quarter of an hour.
pub(crate) fn installed() -> PathBuf {
    let target = program().parent().unwrap().parent().unwrap().to_owned();
    let root = target.join("peers");
    let wasmtime = root.join("bin/wasmtime");
    if wasmtime.exists() {
        return wasmtime;
    }
    println!("building wasmtime-cli 48 to compare with: once, a quarter of an hour");
    let built = Command::new("cargo")
        .args(["install", "wasmtime-cli", "--version", "^48", "--locked"])
        .args(["--no-default-features", "--features", FEATURES])
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(target.join("peers-build"))
        .status()
        .unwrap();
    assert!(built.success(), "cargo install wasmtime-cli: {built}");
    wasmtime
}
