//! `coracle node`: a node of a control plane elsewhere. It opens every connection itself, so that it may stand behind a router that lets nothing in.

use std::{
    net::{IpAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::Args;
use coracle_node::{
    Agent, Config,
    addresses::PodRange,
    config::{NodeIdentity, TunnelSettings},
    link_keeper::{self, Server},
};
use coracle_pki::{Identity, Subject};
use kube::client::ConfigExt;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::{
    client::ClientArguments,
    node_settings::NodeSettings,
    signal,
    tunnel::{self, USER},
};

/// Where other nodes open their links, if it is free.
const TUNNEL_PORT: u16 = 10262;

/// How the node is set up.
#[derive(Args)]
pub(crate) struct NodeArguments {
    /// The node's kubeconfig: `coracle kubeconfig --node NAME` makes it where the control plane is. The node's name is the one in its certificate.
    #[arg(long, env = "CORACLE_NODE_KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Where the node keeps images, logs and volumes. Made if it is not there.
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-node")]
    data_dir: PathBuf,
    /// Where the node's pods get their addresses from. Each node of a cluster needs a range of its own.
    #[arg(long, value_name = "CIDR")]
    pod_cidr: PodRange,
    /// The node's own address, for its status; may be given again. Left out: the one this machine reaches the control plane from.
    #[arg(long = "address")]
    addresses: Vec<IpAddr>,
    /// An address where Services of type NodePort are reached from outside; may be given again. Left out: they are not opened here.
    #[arg(long = "node-ports")]
    node_ports: Vec<IpAddr>,
    /// The port where other nodes open their links to this one, over which pods reach each other. 0: none, for a node behind a router that lets nothing
    /// in; it opens all links itself. Left out: 10262, or another one when somebody has that.
    #[arg(long, value_name = "PORT")]
    tunnel_port: Option<u16>,
    #[command(flatten)]
    settings: NodeSettings,
}

/// Runs until asked to end, then drains.
pub(crate) async fn run(arguments: NodeArguments) -> anyhow::Result<()> {
    let path = &arguments.kubeconfig;
    let access = ClientArguments {
        kubeconfig: Some(path.clone()),
        context: None,
    };
    let access = access.config().await?;
    let name = name(&access, path)?;
    let server = server(&access)?;
    let identity =
        tunnel_identity(&access, &name).with_context(|| format!("use {}", path.display()))?;
    let client = kube::Client::try_from(access).context("prepare the connection")?;
    let mut config = Config::new(name.clone(), client, arguments.data_dir);
    arguments.settings.apply(arguments.pod_cidr, &mut config)?;
    config.node_port_addresses = arguments.node_ports;
    config.addresses = if arguments.addresses.is_empty() {
        vec![own_address(&server)?]
    } else {
        arguments.addresses
    };
    let any: IpAddr = if config.addresses.iter().all(IpAddr::is_ipv4) {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let port = match arguments.tunnel_port {
        Some(0) => None,
        Some(port) => Some(port),
        None => Some(free_port(any)?),
    };
    config.tunnel = Some(TunnelSettings {
        identity,
        listen: port.map(|port| (any, port).into()),
        told: port
            .iter()
            .flat_map(|port| config.addresses.iter().map(|ip| (*ip, *port).into()))
            .collect(),
    });
    let host = server.host.clone();
    let agent = Agent::start(config).await.context("start the node")?;
    let unlink = CancellationToken::new();
    let linking = link_keeper::keep(server, name.clone(), agent.router(), unlink.clone());
    let linking = tokio::spawn(linking);
    println!("Node {name} joins the cluster at {host}");
    signal::asked_to_end().await.context("wait for a signal")?;
    println!("Stopping: pods are asked to end");
    tokio::select! {
        () = agent.stop() => {}
        again = signal::asked_to_end() => again.context("wait for a signal")?,
    }
    unlink.cancel();
    linking.await.context("close the link")
}

/// The usual port for links, or another one when somebody has that: several nodes may be on one machine.
fn free_port(any: IpAddr) -> anyhow::Result<u16> {
    use std::net::TcpListener;
    let listener = TcpListener::bind((any, TUNNEL_PORT)).or_else(|_| TcpListener::bind((any, 0)));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address
        .context("find a port for links of other nodes: say it with --tunnel-port")?
        .port())
}

/// The node's name: what the certificate says, as the API server goes by nothing else.
fn name(access: &kube::Config, path: &Path) -> anyhow::Result<String> {
    let how = || {
        format!(
            "{} is not a node's kubeconfig: make one with `coracle kubeconfig --node NAME`",
            path.display()
        )
    };
    let pem = match (
        &access.auth_info.client_certificate_data,
        &access.auth_info.client_certificate,
    ) {
        (Some(data), _) => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD
                .decode(data.trim())
                .with_context(how)?
        }
        (None, Some(file)) => std::fs::read(file).with_context(|| format!("read {file}"))?,
        (None, None) => bail!("{}: it has no client certificate", how()),
    };
    let identity = Identity {
        cert_pem: String::from_utf8(pem).with_context(how)?,
        key_pem: String::new(),
    };
    let certificate = identity.certificate().with_context(how)?;
    let subject = Subject::of_certificate(&certificate).with_context(how)?;
    match subject.user.strip_prefix(USER) {
        Some(name) => Ok(name.to_owned()),
        None => bail!("{}: its certificate is {}'s", how(), subject.user),
    }
}

/// What the node shows to other nodes: the certificate that it shows to the API server.
fn tunnel_identity(access: &kube::Config, name: &str) -> anyhow::Result<NodeIdentity> {
    let pem = |data: Option<&str>, file: Option<&String>, what: &str| -> anyhow::Result<Vec<u8>> {
        use base64::Engine;
        match (data, file) {
            (Some(data), _) => base64::engine::general_purpose::STANDARD
                .decode(data.trim())
                .with_context(|| format!("decode the {what}")),
            (None, Some(file)) => std::fs::read(file).with_context(|| format!("read {file}")),
            (None, None) => bail!("it has no {what}"),
        }
    };
    let auth = &access.auth_info;
    let data = auth.client_certificate_data.as_deref();
    let chain = pem(data, auth.client_certificate.as_ref(), "client certificate")?;
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(&chain).collect();
    let data = auth
        .client_key_data
        .as_ref()
        .map(ExposeSecret::expose_secret);
    let key = pem(data, auth.client_key.as_ref(), "client key")?;
    let key = PrivateKeyDer::from_pem_slice(&key).context("read the client key")?;
    let chain = chain.context("read the client certificate")?;
    let authorities = access.root_cert.iter().flatten();
    tunnel::identity(name, chain, key, authorities.map(|one| one.clone().into()))
}

fn server(access: &kube::Config) -> anyhow::Result<Server> {
    let url = &access.cluster_url;
    let host = url.host().context("the kubeconfig's server has no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    anyhow::ensure!(
        url.scheme_str() == Some("https"),
        "the kubeconfig's server must be an https URL, not {url}"
    );
    Ok(Server {
        host: host.to_owned(),
        port: url.port_u16().unwrap_or(443),
        tls: Arc::new(
            access
                .rustls_client_config()
                .context("use the certificates in the kubeconfig")?,
        ),
    })
}

/// The address that packets to the server leave from. Sends none.
fn own_address(server: &Server) -> anyhow::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    let found = (server.host.as_str(), server.port)
        .to_socket_addrs()
        .with_context(|| format!("look up {}", server.host))?
        .next()
        .with_context(|| format!("{} has no address", server.host))?;
    let any: IpAddr = if found.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))
        .and_then(|socket| socket.connect(found).map(|()| socket))
        .and_then(|socket| socket.local_addr());
    Ok(socket
        .context("find this machine's address: say it with --address")?
        .ip())
}
