//! A node apart from its API server: TLS with the node's certificate for everything it asks, and the link it opened for what it is asked.

use std::{sync::Arc, time::Duration};

use coracle_apiserver::{
    ambient::System,
    auth::Authenticator,
    listen::{Listen, ListenLimits, serve},
};
use coracle_node::{Agent, Config, link_keeper};
use coracle_pki::{
    Ca, Identity, Names, TokenKey, client_config,
    kubeconfig::{Credential, Kubeconfig},
    server_config,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Cluster, DEADLINE, NODE},
    objects::{is_running, pod},
};

/// A client as `coracle node` has it.
async fn client(ca: &Ca, port: u16, identity: Identity) -> kube::Client {
    let text = Kubeconfig {
        server: format!("https://localhost:{port}"),
        ca_pem: ca.cert_pem().to_owned(),
        cluster: "test".to_owned(),
        user: NODE.to_owned(),
        namespace: None,
        credential: Credential::Certificate(identity),
    };
    let config = kube::config::Kubeconfig::from_yaml(&text.to_yaml()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options);
    let config = config.await.unwrap();
    kube::Client::try_from(config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_node_runs_pods_and_answers_over_its_link() {
    let cluster = Cluster::new().await;
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let ca = Ca::load_or_create(folder.path(), now).unwrap();
    let tokens = Arc::new(TokenKey::load_or_create(folder.path(), "coracle", "coracle").unwrap());
    let identity = ca.server(&Names::parse(["localhost"]), now).unwrap();
    let listen = Listen {
        tls: Arc::new(server_config(ca.cert_pem(), &identity).unwrap()),
        authenticator: Arc::new(Authenticator::new(tokens, Arc::new(System))),
        limits: ListenLimits {
            drain: Duration::from_secs(1),
            ..ListenLimits::default()
        },
    };
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = serve(listener, listen, cluster.server.router(), stop.clone());
    let serving = tokio::spawn(serving);

    let identity = ca.node(NODE, now).unwrap();
    let server = link_keeper::Server {
        host: "localhost".to_owned(),
        port,
        tls: Arc::new(client_config(ca.cert_pem(), Some(&identity), &[]).unwrap()),
    };
    let mut config = Config::new(
        NODE.to_owned(),
        client(&ca, port, identity).await,
        cluster.node_dir(),
    );
    config.runtime_threads = 1;
    config.drain_time = Duration::from_secs(1);
    let agent = Agent::start(config).await.unwrap();
    let unlink = CancellationToken::new();
    let linking = link_keeper::keep(server, NODE.to_owned(), agent.router(), unlink.clone());
    let linking = tokio::spawn(linking);

    cluster.push("echoes").await;
    cluster.create::<Pod>(pod("p", "echoes")).await;
    cluster.until("p", is_running).await;
    let linked = async {
        while !cluster.nodes.is_attached(NODE) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, linked)
        .await
        .expect("a link");
    let log = cluster.log("p", "follow=true&limitBytes=10").await;
    assert_eq!(log, "listening\n");
    cluster.delete("p").await;

    agent.stop().await;
    unlink.cancel();
    linking.await.unwrap();
    stop.cancel();
    serving.await.unwrap().unwrap();
}
