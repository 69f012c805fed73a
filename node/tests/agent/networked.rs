//! Services: found by name and by environment, reached from pods and from outside.

use coracle_network::VipTable;
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    cluster::{Cluster, DEADLINE},
    objects::{is_ready, phase, pod, with},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_reached_from_pods_and_from_outside() {
    let cluster = Cluster::new().await;
    let agent = cluster
        .join(|config| config.node_port_addresses = vec!["127.0.0.1".parse().unwrap()])
        .await;
    cluster.push("echoes").await;
    cluster.push("talks").await;
    cluster.push("exits-with").await;
    cluster.create::<Pod>(pod("server", "echoes")).await;
    let server = cluster.until("server", is_ready).await;
    let ip = server.status.unwrap().pod_ip.unwrap();
    let service = json!({
        "metadata": { "name": "echo", "namespace": "default" },
        "spec": { "type": "ClusterIP", "ports": [{ "port": 70, "targetPort": 7 }] }
    });
    let service: Service = cluster.create(service).await;
    let slice = json!({
        "metadata": { "name": "echo-1", "namespace": "default", "labels": { "kubernetes.io/service-name": "echo" } },
        "addressType": "IPv4", "ports": [{ "port": 7, "protocol": "TCP", "name": "" }],
        "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }]
    });
    cluster.create::<EndpointSlice>(slice).await;
    let address = service.spec.unwrap().cluster_ip.unwrap();
    let seen = async {
        let has = |table: &VipTable| {
            table
                .iter()
                .any(|(_, vip)| !vip.inside.addresses.is_empty())
        };
        while !agent.switch().with_table(has) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, seen)
        .await
        .expect("the node sees the Service");
    let client = with(
        pod("client", "talks"),
        "/spec/containers/0/args",
        json!(["echo:70"]),
    );
    cluster
        .create::<Pod>(with(client, "/spec/restartPolicy", json!("Never")))
        .await;
    cluster
        .until("client", |pod| phase(pod) == "Succeeded")
        .await;
    assert!(cluster.log("client", "").await.contains("talked"));
    let links = with(
        pod("links", "exits-with"),
        "/spec/containers/0/args",
        json!(["0", "$(ECHO_SERVICE_HOST):$(ECHO_SERVICE_PORT)"]),
    );
    cluster
        .create::<Pod>(with(links, "/spec/restartPolicy", json!("Never")))
        .await;
    cluster
        .until("links", |pod| phase(pod) == "Succeeded")
        .await;
    let log = cluster.log("links", "").await;
    assert!(log.contains(&format!("{address}:70")), "{log}");

    // And from the host's own network.
    let change = json!({ "spec": { "type": "NodePort" } });
    let services = crate::objects::api::<Service>(&cluster);
    let patched = services
        .patch(
            "echo",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(change),
        )
        .await
        .unwrap();
    let port = patched.spec.unwrap().ports.unwrap()[0].node_port.unwrap();
    let port = u16::try_from(port).unwrap();
    let reaching = async {
        loop {
            if let Ok(stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                break stream;
            }
            tokio::task::yield_now().await;
        }
    };
    let mut stream = tokio::time::timeout(DEADLINE, reaching)
        .await
        .expect("the port opens");
    stream.write_all(b"knock knock").await.unwrap();
    let mut heard = [0; 11];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&heard, b"knock knock");
    drop(stream);
    agent.stop().await;
}
