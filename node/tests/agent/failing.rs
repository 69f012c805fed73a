//! Containers that end, for every reason there is, and what is made of it.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, DEADLINE, wasm},
    objects::{container, is_running, phase, pod, state, waits_for, with},
};

fn exiting(name: &str, code: &str, policy: &str) -> Value {
    let pod = with(
        pod(name, "exits-with"),
        "/spec/containers/0/args",
        json!([code]),
    );
    with(pod, "/spec/restartPolicy", json!(policy))
}

fn ended(pod: &Pod) -> Option<&ContainerStateTerminated> {
    state(pod)?.terminated.as_ref()
}

fn ended_before(pod: &Pod) -> Option<&ContainerStateTerminated> {
    container(pod)?.last_state.as_ref()?.terminated.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_ends_as_its_containers_do() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("exits-with").await;
    cluster.create::<Pod>(exiting("good", "0", "Never")).await;
    cluster.create::<Pod>(exiting("bad", "3", "Never")).await;
    let good = cluster.until("good", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(ended(&good).unwrap().reason.as_deref(), Some("Completed"));
    let bad = cluster.until("bad", |pod| phase(pod) == "Failed").await;
    let how = ended(&bad).unwrap();
    assert_eq!((how.exit_code, how.reason.as_deref()), (3, Some("Error")));
    // What it wrote can be read when it is over, both streams.
    let log = cluster.log("good", "").await;
    assert!(log.contains("arguments [\"main\", \"0\"]"), "{log}");
    assert!(log.contains("to standard error"), "{log}");
    assert_eq!(cluster.log("good", "tailLines=1").await.lines().count(), 1);
    let stamped = cluster.log("good", "timestamps=true&limitBytes=21").await;
    assert!(
        stamped.starts_with("20") && stamped.len() == 21,
        "{stamped}"
    );
    cluster.delete("good").await;
    let logs = cluster.node_dir().join("logs");
    let one_is_left = async {
        while std::fs::read_dir(&logs).unwrap().count() != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, one_is_left)
        .await
        .expect("the log goes with its pod, and no other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_crashes_again_and_again_is_started_later_and_later() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("exits-with").await;
    cluster.create::<Pod>(exiting("loop", "3", "Always")).await;
    let looping = cluster
        .until("loop", |pod| waits_for(pod) == Some("CrashLoopBackOff"))
        .await;
    // The first restart is at once, the second one waits.
    assert_eq!(container(&looping).unwrap().restart_count, 1);
    assert_eq!(ended_before(&looping).unwrap().exit_code, 3);
    assert_eq!(phase(&looping), "Running");
    let message = state(&looping)
        .unwrap()
        .waiting
        .as_ref()
        .unwrap()
        .message
        .clone();
    assert!(
        message
            .unwrap()
            .starts_with("back-off 10s restarting failed container=main")
    );
    cluster
        .told("loop", "BackOff: Back-off restarting failed container main")
        .await;
    for query in ["", "previous=true"] {
        assert!(cluster.log("loop", query).await.contains("arguments"));
    }
    cluster.delete("loop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_too_much_memory_is_ended_and_nobody_else() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("grows-memory").await;
    cluster.push("echoes").await;
    cluster.create::<Pod>(pod("neighbour", "echoes")).await;
    cluster.until("neighbour", is_running).await;
    let limits = json!({ "limits": { "memory": "16Mi" } });
    let greedy = with(
        pod("greedy", "grows-memory"),
        "/spec/containers/0/resources",
        limits,
    );
    cluster
        .create::<Pod>(with(greedy, "/spec/restartPolicy", json!("Never")))
        .await;
    let greedy = cluster.until("greedy", |pod| phase(pod) == "Failed").await;
    let how = ended(&greedy).unwrap();
    assert_eq!(
        (how.exit_code, how.reason.as_deref()),
        (137, Some("OOMKilled"))
    );
    let neighbour = cluster.pod("neighbour").await;
    assert!(is_running(&neighbour) && container(&neighbour).unwrap().restart_count == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_says_what_and_where() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("traps").await;
    let trapping = with(pod("trap", "traps"), "/spec/restartPolicy", json!("Never"));
    cluster.create::<Pod>(trapping).await;
    let trapped = cluster.until("trap", |pod| phase(pod) == "Failed").await;
    let how = ended(&trapped).unwrap();
    assert_eq!((how.exit_code, how.reason.as_deref()), (134, Some("Error")));
    let message = how.message.as_deref().unwrap();
    assert!(message.contains("unreachable"), "{message}");
    assert!(
        message.contains("traps::main"),
        "a backtrace with names: {message}"
    );
    assert!(cluster.log("trap", "").await.contains("before"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_output_fills_neither_memory_nor_disk() {
    let cluster = Cluster::new().await;
    let _agent = cluster
        .join(|config| config.disk.log_file = 256 << 10)
        .await;
    cluster.push("floods-output").await;
    cluster.create::<Pod>(pod("flood", "floods-output")).await;
    cluster.until("flood", is_running).await;
    // More was written than is kept, and the last of it is there.
    let following = cluster.log("flood", "follow=true&limitBytes=4194304").await;
    assert_eq!(following.len(), 4 << 20);
    assert!(
        cluster
            .log("flood", "tailLines=2")
            .await
            .starts_with("flood flood")
    );
    let mut kept = 0;
    for pod in std::fs::read_dir(cluster.node_dir().join("logs")).unwrap() {
        for file in std::fs::read_dir(pod.unwrap().path().join("main")).unwrap() {
            kept += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(kept < 2 << 20, "{kept} bytes are kept");
    cluster.delete("flood").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_image_says_why_and_hurts_nobody() {
    let (cluster, _agent) = Cluster::with_node().await;
    cluster.push("echoes").await;
    cluster.create::<Pod>(pod("neighbour", "echoes")).await;
    cluster.until("neighbour", is_running).await;
    let whole = wasm("echoes");
    cluster
        .push_bytes("truncated", whole.slice(..whole.len() / 2))
        .await;
    cluster.push_bytes("importing", importing().into()).await;
    cluster
        .push_bytes("hollow", bytes::Bytes::from_static(b"\0asm\x01\0\0\0"))
        .await;
    cluster.create::<Pod>(pod("missing", "nowhere:1")).await;
    cluster.create::<Pod>(pod("misnamed", "Not_A/Name::")).await;
    cluster
        .create::<Pod>(pod("foreign", "registry.example.com/x:1"))
        .await;
    cluster
        .create::<Pod>(with(
            pod("never", "absent"),
            "/spec/containers/0/imagePullPolicy",
            json!("Never"),
        ))
        .await;
    for name in ["truncated", "importing", "hollow"] {
        cluster.create::<Pod>(pod(name, name)).await;
    }
    cluster
        .until("missing", |pod| waits_for(pod) == Some("ErrImagePull"))
        .await;
    cluster
        .until("missing", |pod| waits_for(pod) == Some("ImagePullBackOff"))
        .await;
    cluster
        .told(
            "missing",
            "Failed: Failed to pull image \"nowhere:1\": the cluster's registry has no nowhere 1",
        )
        .await;
    cluster
        .until("misnamed", |pod| waits_for(pod) == Some("InvalidImageName"))
        .await;
    cluster
        .told(
            "foreign",
            "this node pulls from the cluster's own registry only",
        )
        .await;
    cluster
        .until("never", |pod| waits_for(pod) == Some("ErrImageNeverPull"))
        .await;
    for (name, why) in [
        ("truncated", "malformed or cut short"),
        ("importing", "the module imports what no node offers: "),
        ("hollow", "neither a program"),
    ] {
        let pod = cluster
            .until(name, |pod| waits_for(pod) == Some("InvalidImage"))
            .await;
        let message = state(&pod)
            .unwrap()
            .waiting
            .as_ref()
            .unwrap()
            .message
            .clone();
        assert!(message.as_deref().unwrap().contains(why), "{message:?}");
        cluster.told(name, why).await;
    }
    cluster.told("importing", "make_coffee").await;
    let neighbour = cluster.pod("neighbour").await;
    assert!(is_running(&neighbour) && container(&neighbour).unwrap().restart_count == 0);
    for name in ["missing", "importing"] {
        cluster.delete(name).await;
    }
}

/// A module that imports `kitchen.make_coffee` and exports `_start`.
fn importing() -> Vec<u8> {
    let section = |id: u8, content: &[u8]| {
        let mut all = vec![id, u8::try_from(content.len()).unwrap()];
        all.extend_from_slice(content);
        all
    };
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // One type without parameters and results.
    module.extend(section(1, &[1, 0x60, 0, 0]));
    let mut import = vec![1, 7];
    import.extend_from_slice(b"kitchen");
    import.push(11);
    import.extend_from_slice(b"make_coffee");
    import.extend_from_slice(&[0, 0]);
    module.extend(section(2, &import));
    module.extend(section(3, &[1, 0]));
    let mut export = vec![1, 6];
    export.extend_from_slice(b"_start");
    export.extend_from_slice(&[0, 1]);
    module.extend(section(7, &export));
    // A function that does nothing.
    module.extend(section(10, &[1, 2, 0, 0x0b]));
    module
}
