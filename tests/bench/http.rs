//! Requests a second through a Service from outside: client → node port → virtual IP → pod, beside `wasmtime serve` with the same component, in turns. CPU
//! and memory limits and metering are on at Coracle's; the peer has none.

use coracle_tests::{
    up::{Up, guest_file},
    wait::eventually,
};

use crate::{
    figures::{ROUNDS, median, range},
    memory,
    wasmtime_serve::{self, Server},
    wrk::{self, Load},
};

/// Requests that the peer's instances are used for in its second form: Coracle's own bound.
const REUSE: &str = "--max-instance-reuse-count=1000";

/// A way to serve the component: what Coracle's pod says, on which node port, and what the peer is told.
struct Way {
    title: &'static str,
    instances: &'static str,
    port: u16,
    peer: &'static [&'static str],
}

const WAYS: [Way; 2] = [
    Way {
        title: "one instance per request",
        instances: "per-request",
        port: 30191,
        peer: &[],
    },
    Way {
        title: "instances reused up to 1,000 times",
        instances: "pooled",
        port: 30192,
        peer: &[REUSE],
    },
];

/// Measures and prints.
pub(crate) fn run() {
    wasmtime_serve::installed();
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("hello-http.wasm");
    let module = std::fs::read(guest_file("hello-http")).unwrap();
    let inspected = coracle_runtime::artifact::inspect(&module).unwrap();
    std::fs::write(&component, &inspected.component).unwrap();

    let up = Up::start();
    up.push("hello-http:1", "hello-http");
    let kubectl = up.kubectl();
    memory::await_node(&kubectl);
    for way in &WAYS {
        let _ = kubectl.apply(&manifest(way));
        let url = format!("http://{}/", up.node_port(way.port));
        eventually(&url, || {
            coracle_tests::request::http(&up.node_port(way.port), "GET", "/", "")
                .filter(|answer| answer.contains("200 OK"))
        });
    }
    for way in &WAYS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(wrk::ask(&format!("http://{}/", up.node_port(way.port))));
            let _server = Server::start(&component, way.peer);
            theirs.push(wrk::ask(&format!("http://{}/", wasmtime_serve::ADDRESS)));
        }
        let ratios: Vec<f64> = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| a.rate / b.rate)
            .collect();
        println!("hello-http, {}, 32 connections:", way.title);
        println!("  coracle, through a Service from outside: {}", told(&ours));
        println!(
            "  wasmtime serve 48:                       {}",
            told(&theirs)
        );
        println!(
            "  ratio {:.2} ({} over {ROUNDS} rounds); first mark 1.0",
            median(&ratios),
            range(&ratios)
        );
    }
}

fn told(loads: &[Load]) -> String {
    let of = |figure: fn(&Load) -> f64| median(&loads.iter().map(figure).collect::<Vec<_>>());
    format!(
        "{:.0} requests/s, p50 {:.2} ms, p99 {:.2} ms",
        of(|load| load.rate),
        of(|load| load.p50),
        of(|load| load.p99)
    )
}

fn manifest(way: &Way) -> String {
    let Way {
        instances, port, ..
    } = way;
    format!(
        "
apiVersion: v1
kind: Pod
metadata:
  name: {instances}
  labels: {{bench: {instances}}}
  annotations: {{coracle.dev/http-instances: {instances}}}
spec:
  containers:
  - name: hello
    image: hello-http:1
    ports: [{{containerPort: 8080}}]
    resources: {{requests: {{cpu: 100m}}, limits: {{cpu: '2', memory: 256Mi}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {instances}}}
spec:
  type: NodePort
  selector: {{bench: {instances}}}
  ports: [{{port: 80, targetPort: 8080, nodePort: {port}}}]
"
    )
}
