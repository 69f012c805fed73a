//! The node's virtual network, in memory: pods talk over pipes, never through kernel sockets. Knows neither WebAssembly nor Kubernetes' objects.
//!
//! In reading order: [`error`]; [`pipe`], one direction of a connection; [`stream`] and [`listener`], what programs hold; [`udp`] and [`flows`], datagrams; [`stack`], a pod's
//! network namespace; [`switch`], what connects the stacks of a node; [`service`], [`vip`] and [`balance`], virtual addresses and the choice of a pod;
//! [`policy`], who may talk to whom;
//! [`tunnel`], the way to other nodes; [`dns`], names; [`node_port`], the way in from outside; [`counters`], what went through.

pub mod balance;
pub mod cidr;
mod connections;
pub mod counters;
pub mod dns;
pub mod error;
pub mod flows;
pub mod listener;
pub mod node_port;
pub mod pipe;
pub mod policy;
mod ports;
pub mod service;
pub mod stack;
pub mod stream;
pub mod switch;
#[cfg(test)]
mod testing;
mod topology;
pub mod tunnel;
pub mod udp;
pub mod vip;
mod wakers;

pub use balance::Backend;
pub use counters::{Counters, Traffic};
pub use error::NetError;
pub use listener::TcpListener;
pub use node_port::{HostPort, NodePorts};
pub use ports::TcpBinding;
pub use service::{
    Endpoint, EndpointSlice, Place, Protocol, Service, ServiceKind, ServicePort, SlicePort,
    TrafficPolicy,
};
pub use stack::{PodIdentity, PodStack};
pub use stream::TcpStream;
pub use switch::{Dialer, Switch, SwitchConfig};
pub use topology::Backends;
pub use udp::{Datagram, UdpSocket};
pub use vip::{TableOp, Vip, VipKey, VipTable};
