//! Memory of `coracle up` with nothing to do: control plane, node and image registry in one process, its node Ready.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use coracle_tests::{kubectl::Kubectl, up::Up};

use crate::figures::{ROUNDS, median};

/// How long a cluster is left alone before it counts as idle.
const SETTLING: Duration = Duration::from_secs(10);

/// Measures and prints.
pub(crate) fn run() {
    let mut resident = Vec::new();
    let mut own = Vec::new();
    let mut ready = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut up = Up::start();
        ready.push(began.elapsed().as_secs_f64() * 1000.0);
        await_node(&up.kubectl());
        sleep(SETTLING);
        let pid = up.process().id();
        resident.push(of(pid, "VmRSS"));
        own.push(of(pid, "RssAnon"));
    }
    println!(
        "idle `coracle up`, node Ready, {} s after: {:.1} MB resident, of which {:.1} MB its own (anonymous); first mark 60 MB resident",
        SETTLING.as_secs(),
        median(&resident),
        median(&own)
    );
    println!(
        "start of `coracle up` on an empty folder until the API answers (keys made, store created): {:.0} ms",
        median(&ready)
    );
}

/// Waits until the node is Ready.
pub(crate) fn await_node(kubectl: &Kubectl) {
    let _ = kubectl.run(&["wait", "--for=create", "node/edge", "--timeout=60s"]);
    let _ = kubectl.run(&[
        "wait",
        "--for=condition=Ready",
        "node/edge",
        "--timeout=60s",
    ]);
}

/// A figure of a process's memory, in MB.
pub(crate) fn of(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with(name));
    let kilobytes: f64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .expect("the kernel tells it");
    kilobytes * 1024.0 / 1e6
}
