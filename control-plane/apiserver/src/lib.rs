//! The Kubernetes API server: one generic pipeline over the registry of kinds. No handler knows a kind.
//!
//! In reading order:
//! - [`server`] is the server as a value, [`router`] its routes and the gate every request passes ([`path`], [`query`], [`limits`],
//!   [`authorization`], [`streams`], [`upgrades`]).
//! - [`resources`] does what a request for a resource says: [`reads`] shows what is stored ([`encoded`], [`negotiation`]), [`writes`] changes it (through
//!   [`admission`]), [`subresources`] and [`virtual_kinds`] are what is neither.
//! - [`discovery`], [`openapi`], [`version`], [`metrics`] tell about the server.
//! - [`auth`] says who a client is and what it may, [`links`] reaches the nodes, [`listen`] lets clients in.

pub mod server;

pub mod router;

pub mod authorization;
pub mod limits;
pub mod path;
pub mod query;
pub mod streams;
pub mod upgrades;

pub mod resources;

pub mod admission;
pub mod reads;
pub mod subresources;
pub mod virtual_kinds;
pub mod writes;

pub mod answer;
pub mod body;
pub mod continuation;
pub mod encoded;
pub mod error;
pub mod keys;
pub mod meta;
pub mod negotiation;
pub mod parsed;
pub mod recent;

pub mod discovery;
pub mod hash;
pub mod metrics;
pub mod openapi;
pub mod version;

pub mod auth;
pub mod links;
pub mod listen;

pub mod ambient;
pub mod backup;
pub mod bootstrap;
pub mod client;
pub mod expiry;

pub use auth::user::UserInfo;
pub use server::{ApiServer, Options};
