//! `coracle up`: a whole cluster in one process, for a laptop or one edge box.

use std::net::IpAddr;

use anyhow::Context;
use clap::Args;
use coracle_apiserver::{UserInfo, links::Link};
use coracle_control_plane::ControlPlane;
use coracle_node::{Agent, Config};

use crate::{
    node::NodeSettings,
    server::{ServerArguments, announce},
    signal,
};

/// How the cluster is set up.
#[derive(Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    node: NodeSettings,
    /// An address where Services of type NodePort are reached from outside; may be given again.
    #[arg(long = "node-ports", default_value = "127.0.0.1")]
    node_ports: Vec<IpAddr>,
}

/// Runs until asked to end, then drains.
pub(crate) async fn run(arguments: UpArguments) -> anyhow::Result<()> {
    let server = ControlPlane::start(&arguments.server.config()).await?;
    let name = arguments.node.name()?;
    // The node is a user of its own here as well: it may do what any node may, and no more.
    let user = UserInfo::new(format!("system:node:{name}"), ["system:nodes"]);
    let mut config = Config::new(
        name.clone(),
        server.client(user),
        arguments.server.data_dir.join("node"),
    );
    arguments.node.apply(&mut config);
    config.node_port_addresses = arguments.node_ports;
    let agent = Agent::start(config).await.context("start the node")?;
    server
        .nodes()
        .attach(name.clone(), Link::Local(agent.router()));
    let kubeconfig = announce(&server, &arguments.server.data_dir)?;
    println!(
        "Node {name} joins the cluster; the API is served on {}",
        server.url()
    );
    println!("export KUBECONFIG={}", kubeconfig.display());
    signal::asked_to_end().await.context("wait for a signal")?;
    println!("Stopping: pods are asked to end");
    tokio::select! {
        () = agent.stop() => {}
        again = signal::asked_to_end() => again.context("wait for a signal")?,
    }
    server.stop().await;
    Ok(())
}
