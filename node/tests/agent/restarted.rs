//! An agent that ends, in order or not, and the one after it.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use crate::{
    cluster::Cluster,
    objects::{container, is_ready, is_running, phase, pod, with},
};

/// Runs an agent in a runtime of its own and takes that away in the middle of everything, as far as that goes within a process.
async fn run_and_kill(cluster: &Cluster, names: [&str; 2]) -> (Pod, Pod) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = cluster.config();
    let starting = runtime.spawn(async { coracle_node::Agent::start(config).await.unwrap() });
    let agent = starting.await.unwrap();
    let stays = cluster
        .until(names[0], |pod| is_running(pod) && is_ready(pod))
        .await;
    let done = cluster
        .until(names[1], |pod| phase(pod) == "Succeeded")
        .await;
    runtime.shutdown_background();
    drop(agent);
    (stays, done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_run_again_after_a_crash_and_those_that_are_done_do_not() {
    let cluster = Cluster::new().await;
    cluster.push("echoes").await;
    cluster.push("exits-with").await;
    cluster.create::<Pod>(pod("stays", "echoes")).await;
    cluster
        .create::<Pod>(with(
            pod("done", "exits-with"),
            "/spec/restartPolicy",
            json!("Never"),
        ))
        .await;
    let (before, done) = run_and_kill(&cluster, ["stays", "done"]).await;
    // What an earlier life left behind of pods that are no longer there.
    let orphan = cluster.node_dir().join("pods/0000-orphan");
    let orphan_log = cluster.node_dir().join("logs/default_gone_0000-orphan");
    std::fs::create_dir_all(orphan.join("volumes")).unwrap();
    std::fs::create_dir_all(&orphan_log).unwrap();

    let agent = cluster.join(|_| {}).await;
    let id = |pod: &Pod| container(pod).unwrap().container_id.clone();
    let old = id(&before);
    let again = cluster
        .until("stays", |pod| {
            is_running(pod) && is_ready(pod) && id(pod) != old
        })
        .await;
    assert_eq!(again.uid(), before.uid());
    assert_eq!(
        container(&again).unwrap().restart_count,
        1,
        "it was started again"
    );
    let last = container(&again).unwrap().last_state.as_ref().unwrap();
    assert_eq!(last.terminated.as_ref().unwrap().container_id, old);
    assert_eq!(
        again.status.as_ref().unwrap().pod_ip,
        before.status.as_ref().unwrap().pod_ip,
        "an address is kept"
    );
    // What was done stays as it was, and can still be read and deleted.
    let still = cluster.pod("done").await;
    assert_eq!(
        (phase(&still), container(&still)),
        ("Succeeded", container(&done))
    );
    assert!(cluster.log("done", "").await.contains("arguments"));
    cluster.delete("done").await;
    let swept = async {
        while orphan.exists() || orphan_log.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::cluster::DEADLINE, swept)
        .await
        .expect("orphans go");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stops_leaves_its_pods_to_the_next() {
    let (cluster, agent) = Cluster::with_node().await;
    cluster.push("spins").await;
    cluster.create::<Pod>(pod("p", "spins")).await;
    let before = cluster.until("p", is_running).await;
    agent.stop().await;
    let stopped = cluster.pod("p").await;
    assert!(!is_running(&stopped), "its end was told");
    let agent = cluster.join(|_| {}).await;
    let again = cluster.until("p", is_running).await;
    assert_eq!(again.uid(), before.uid());
    assert_eq!(container(&again).unwrap().restart_count, 1);
    // Deleted while nobody is there: gone when somebody is.
    agent.stop().await;
    let pods = crate::objects::api::<Pod>(&cluster);
    pods.delete("p", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_some());
    let _agent = cluster.join(|_| {}).await;
    let gone = kube::runtime::wait::await_condition(pods, "p", |pod: Option<&Pod>| pod.is_none());
    tokio::time::timeout(crate::cluster::DEADLINE, gone)
        .await
        .expect("it goes")
        .unwrap();
}
