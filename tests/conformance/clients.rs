//! The official clients of other languages, unmodified, installed from their registries into the target directory: each runs a script that checks what its users do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use coracle_tests::cluster::Cluster;

/// The versions that are known to work; newer ones are taken on purpose, not by accident.
const PYTHON_CLIENT: &str = "kubernetes==34.1.0";
const JAVASCRIPT_CLIENT: &str = "@kubernetes/client-node@1.4.0";

/// A folder in the target directory, kept between runs: installing takes longer than the test.
fn folder(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(3).unwrap();
    let folder = target.join("clients").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conformance/clients")
        .join(name)
}

/// Runs a command that must succeed.
fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_python_client_works() {
    let cluster = Cluster::start();
    let venv = folder("python");
    let python = venv.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    }
    let installed = Command::new(&python)
        .args(["-c", "import kubernetes"])
        .output();
    if !installed.is_ok_and(|output| output.status.success()) {
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", PYTHON_CLIENT]));
    }
    run(Command::new(&python)
        .arg(script("check.py"))
        .env("KUBECONFIG", cluster.kubeconfig()));
}

#[test]
fn the_javascript_client_works() {
    let cluster = Cluster::start();
    let modules = folder("javascript");
    if !modules
        .join("node_modules/@kubernetes/client-node")
        .exists()
    {
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&modules)
            .arg(JAVASCRIPT_CLIENT));
    }
    // Node looks for modules beside the script.
    let copy = modules.join("check.mjs");
    fs::copy(script("check.mjs"), &copy).unwrap();
    run(Command::new("node")
        .arg(copy)
        .env("KUBECONFIG", cluster.kubeconfig()));
}
