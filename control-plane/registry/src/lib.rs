//! The image registry: OCI distribution specification 1.1 over a folder of content-addressed files. Pull, push in one piece or in chunks, mount, tags,
//! referrers, delete. Who may do what is decided before a request comes here; what is stored is verified before it is acknowledged.
//!
//! [`route`] reads requests and [`error`] is what they are refused with; [`store`] keeps blobs, uploads, manifests and tags on disk ([`layout`], [`files`]) and
//! sweeps what nobody refers to; [`http`] puts the two together.

pub mod error;
mod files;
mod http;
mod layout;
pub mod route;
pub mod store;

pub use error::RegistryError;
pub use http::router;
pub use store::{Limits, Registry, Swept};
