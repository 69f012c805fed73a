//! The node's virtual network, in memory: pods talk over pipes, never through kernel sockets. Knows neither WebAssembly nor Kubernetes' objects.
//!
//! In reading order: [`error`]; [`pipe`], one direction of a connection; [`stream`] and [`listener`], what programs hold; [`stack`], a pod's network
//! namespace; [`switch`], what connects the stacks of a node; [`service`], [`vip`] and [`balance`], virtual addresses and the choice of a pod;
//! [`dns`], names; [`node_port`], the way in from outside; [`counters`], what went through.

pub mod balance;
pub mod counters;
pub mod dns;
pub mod error;
pub mod listener;
pub mod node_port;
pub mod pipe;
pub mod service;
pub mod stack;
pub mod stream;
pub mod switch;
pub mod vip;
mod wakers;

pub use counters::{Counters, Traffic};
pub use error::NetError;
pub use listener::TcpListener;
pub use node_port::NodePorts;
pub use service::{
    Endpoint, EndpointSlice, Protocol, Service, ServiceKind, ServicePort, SlicePort,
};
pub use stack::{PodIdentity, PodStack, TcpBinding};
pub use stream::TcpStream;
pub use switch::{Dialer, Switch, SwitchConfig};
pub use vip::{TableOp, Vip, VipKey, VipTable};
