//! `coracle up`: a whole cluster in one process, for a laptop or one edge box.

use std::net::IpAddr;

use anyhow::Context;
use clap::Args;
use coracle_apiserver::{UserInfo, links::Link};
use coracle_control_plane::ControlPlane;
use coracle_node::{
    Agent, Config,
    addresses::PodRange,
    config::{NodeIdentity, TunnelSettings},
};

use crate::{
    node_settings::NodeSettings,
    server::{ServerArguments, announce},
    signal, tunnel,
};

/// How the cluster is set up.
#[derive(Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// The node's name. Left out: this machine's.
    #[arg(long = "node-name", env = "CORACLE_NODE_NAME")]
    node_name: Option<String>,
    /// Where the node's pods get their addresses from.
    #[arg(long, value_name = "CIDR", default_value_t)]
    pod_cidr: PodRange,
    #[command(flatten)]
    node: NodeSettings,
    /// An address where Services of type NodePort are reached from outside; may be given again.
    #[arg(long = "node-ports", default_value = "127.0.0.1")]
    node_ports: Vec<IpAddr>,
}

/// Runs until asked to end, then drains.
pub(crate) async fn run(arguments: UpArguments) -> anyhow::Result<()> {
    let name = node_name(arguments.node_name)?;
    let server = ControlPlane::start(&arguments.server.config()).await?;
    // The node is a user of its own here as well: it may do what any node may, and no more.
    let user = UserInfo::new(format!("system:node:{name}"), ["system:nodes"]);
    let mut config = Config::new(
        name.clone(),
        server.client(user),
        arguments.server.data_dir.join("node"),
    );
    arguments.node.apply(arguments.pod_cidr, &mut config)?;
    config.node_port_addresses = arguments.node_ports;
    // Nodes that join listen; this one opens the links, and needs no port.
    config.tunnel = Some(TunnelSettings {
        identity: identity(&server, &name)?,
        listen: None,
        told: Vec::new(),
    });
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

fn identity(server: &ControlPlane, name: &str) -> anyhow::Result<NodeIdentity> {
    let credentials = server.credentials();
    let own = credentials.node_identity(name)?;
    let authority = credentials.ca().certificate()?;
    tunnel::identity(name, vec![own.certificate()?], own.key()?, [authority])
}

/// The node's name, in the form that names of nodes have.
fn node_name(given: Option<String>) -> anyhow::Result<String> {
    let name = match given {
        Some(name) => name,
        None => std::fs::read_to_string("/proc/sys/kernel/hostname")
            .context("read this machine's name: give the node one with --node-name")?
            .trim()
            .to_lowercase(),
    };
    let is_name = coracle_api::names::dns1123_subdomain(&name).is_empty();
    anyhow::ensure!(
        is_name,
        "{name:?} is no name for a node: give it one of lower case letters, digits, - and . with --node-name"
    );
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_nodes() {
        let of = |name: &str| node_name(Some(name.to_owned()));
        assert_eq!(of("edge-1.lab").unwrap(), "edge-1.lab");
        for wrong in ["", "Edge", "a_b", "-a", "a..b"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
