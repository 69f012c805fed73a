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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// At virtual addresses.
    Virtual,
    /// By name alone: its name stands for its pods.
    Headless,
    /// Its name stands for another name.
    ExternalName(String),
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub kind: ServiceKind,
    /// Its virtual addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Keeps a client with its pod for so long after the last connection.
    pub affinity: Option<Duration>,
    /// Names and sends to pods that are not ready, too.
    pub publish_not_ready: bool,
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
}

/// Some endpoints of a Service that have the same ports.
#[derive(Clone, Debug, PartialEq, Eq)]
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
