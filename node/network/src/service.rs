//! Services and their endpoints as the network needs them: plain data, made from the cluster's objects by whoever watches those.

use std::{net::IpAddr, time::Duration};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// How a Service is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// At virtual addresses.
    #[default]
    Virtual,
    /// By name alone: its name stands for its pods.
    Headless,
    /// Its name stands for another name.
    ExternalName(String),
}

/// Which of a Service's endpoints may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Those of all nodes.
    #[default]
    Cluster,
    /// Those of this node.
    Local,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty when it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number at the Service's addresses.
    pub port: u16,
    /// Its number at every node, if any.
    pub node_port: Option<u16>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub kind: ServiceKind,
    /// Its virtual addresses.
    pub addresses: Vec<IpAddr>,
    /// Addresses from outside the cluster that lead to it too: external ones, and its load balancer's.
    pub external_addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Keeps a client with its pod for so long after the last connection.
    pub affinity: Option<Duration>,
    /// Names and sends to pods that are not ready, too.
    pub publish_not_ready: bool,
    /// What callers in the cluster are sent to.
    pub internal_policy: TrafficPolicy,
    /// What callers from outside are sent to.
    pub external_policy: TrafficPolicy,
    /// The nodes are its load balancer: they open its ports under their own numbers.
    pub is_opened_by_nodes: bool,
}

/// A port of the endpoints in a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port it stands for.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number at the endpoints.
    pub port: u16,
}

/// A pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Takes new connections.
    pub ready: bool,
    /// Could, though it may be stopping.
    pub serving: bool,
    /// Is stopping.
    pub terminating: bool,
    /// Its host name, where the Service names it.
    pub hostname: Option<String>,
    /// The node it is on.
    pub node: Option<String>,
    /// The nodes that should use it; empty: that is not said.
    pub for_nodes: Vec<String>,
    /// The zones that should use it; empty: that is not said.
    pub for_zones: Vec<String>,
}

impl Default for Endpoint {
    /// One that is ready: what is not said counts as that.
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            ready: true,
            serving: true,
            terminating: false,
            hostname: None,
            node: None,
            for_nodes: Vec::new(),
            for_zones: Vec::new(),
        }
    }
}

/// Some endpoints of a Service that have the same ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The namespace.
    pub namespace: String,
    /// The Service.
    pub service: String,
    /// The ports.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Where the table of Services is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: String,
    /// Its zone; empty when it is in none.
    pub zone: String,
    /// The addresses of the cluster's nodes: node ports are reached there, from pods too.
    pub node_addresses: Vec<IpAddr>,
}
