//! How long a pod takes from its creation until it runs: over HTTPS, watched, the create durable before it is acknowledged, the image at hand and compiled.

use std::time::Duration;

use coracle_tests::up::Up;

use crate::{
    figures::{ROUNDS, median, millis, percentile},
    memory,
    pods::Pods,
};

/// Creates a second, and pods in a round.
const RATES: [(u32, usize); 2] = [(1, 10), (100, 300)];

/// Measures and prints.
pub(crate) fn run() {
    let up = Up::start_with(&["--pods", "1000", "--pod-cidr", "10.244.0.0/16"]);
    up.push("echoes:1", "echoes");
    memory::await_node(&up.kubectl());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pods = Pods::new(&up.admin_kubeconfig(), "echoes:1").await;
        // The image is pulled and compiled.
        pods.create(1, 1).await;
        pods.delete().await;
        for (rate, count) in RATES {
            let (mut middle, mut tail) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let mut times = pods.create(count, rate).await;
                pods.delete().await;
                middle.push(percentile(&mut times, 0.5));
                tail.push(percentile(&mut times, 0.99));
            }
            println!(
                "pod create → Running at {rate}/s, {count} pods: p50 {}, p99 {} (medians of {ROUNDS} rounds; highest p99 {}); first mark p99 100 ms; durable, image cached",
                millis(median(&middle)),
                millis(median(&tail)),
                millis(tail.iter().copied().max().unwrap_or(Duration::ZERO)),
            );
        }
    });
}
