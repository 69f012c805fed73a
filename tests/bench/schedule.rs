//! Measures how fast the scheduler decides, on one core, with no API server: pods a second into clusters of 5,000 nodes in ten zones, each pod decided and put
//! where it goes before the next. Medians of five runs.

use std::{sync::Arc, time::Instant};

use coracle_scheduler::{Request, Snapshot, assign};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

const NODES: usize = 5000;
const RUNS: usize = 5;
/// Pods of one Deployment: a rollout of that size at a time.
const OF_ONE: usize = 100;

/// The rest of a pod's spec, for pods of an app.
type Spec = Box<dyn Fn(&str) -> Value>;

/// Measures and prints.
pub(crate) fn run() {
    println!("{NODES} nodes, medians of {RUNS} runs, pods decided a second on one core:");
    let zone = "topology.kubernetes.io/zone";
    let host = "kubernetes.io/hostname";
    let affinity = |of: &str, term: Value| json!({"affinity": {of: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let cases: [(&str, usize, Spec); 7] = [
        ("basic", 20_000, Box::new(|_| json!({}))),
        (
            "node selector",
            5000,
            Box::new(move |_| json!({"nodeSelector": {zone: "zone-3"}})),
        ),
        (
            "spread over zones",
            10_000,
            Box::new(
                move |app| json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": zone, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": app}}}]}),
            ),
        ),
        (
            "affinity, by zone",
            10_000,
            Box::new(move |app| {
                affinity(
                    "podAffinity",
                    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": zone}),
                )
            }),
        ),
        (
            "anti-affinity, by node",
            10_000,
            Box::new(move |app| {
                affinity(
                    "podAntiAffinity",
                    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": host}),
                )
            }),
        ),
        (
            "preferred affinity",
            10_000,
            Box::new(
                move |app| json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": zone}}]}}}),
            ),
        ),
        (
            "anti-affinity of one app",
            4000,
            Box::new(move |_| {
                affinity(
                    "podAntiAffinity",
                    json!({"labelSelector": {"matchLabels": {"kind": "x"}}, "topologyKey": host}),
                )
            }),
        ),
    ];
    for (name, n_pods, spec) in cases {
        let mut rates: Vec<f64> = (0..RUNS).map(|_| rate(n_pods, &spec)).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates.get(RUNS / 2).copied().unwrap_or(0.0);
        println!("  {name:<26}{median:>10.0}   ({n_pods} pods)");
    }
}

/// Pods a second.
fn rate(n_pods: usize, spec: &dyn Fn(&str) -> Value) -> f64 {
    let mut snapshot = Snapshot::default();
    for n in 0..NODES {
        snapshot.put_node(node(n));
    }
    let pods: Vec<Arc<Pod>> = (0..n_pods).map(|n| pod(n, spec)).collect();
    let mut chance = 0x9e37_79b9_usize;
    let began = Instant::now();
    for pod in pods {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let request: Request = snapshot.prepare(pod);
        let node = assign(&request, &snapshot, chance >> 33).expect("there is room");
        snapshot.place(&node, Arc::new(request));
    }
    let count = u32::try_from(n_pods).unwrap_or(u32::MAX);
    f64::from(count) / began.elapsed().as_secs_f64()
}

fn node(n: usize) -> Arc<Node> {
    let name = format!("node-{n}");
    let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", n % 10)}},
        "status": {"allocatable": {"cpu": "32", "memory": "256Gi", "pods": "110"}}});
    Arc::new(serde_json::from_value(node).expect("a node"))
}

fn pod(n: usize, spec: &dyn Fn(&str) -> Value) -> Arc<Pod> {
    let app = format!("app-{}", n / OF_ONE);
    let mut all = spec(&app);
    all["containers"] = json!([{"name": "main", "image": "hello:v1", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}]);
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": app, "controller": true}]);
    let pod = json!({"metadata": {"name": format!("pod-{n}"), "namespace": "default", "uid": format!("pod-{n}"), "labels": {"app": app, "kind": "x"}, "ownerReferences": owner}, "spec": all});
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}
