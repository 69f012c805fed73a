//! The cluster's certificate authority, certificates, tokens and kubeconfigs. Knows keys and names, not who may do what; has no clock of its own
//! and no sockets.
//!
//! [`ca`] is the authority on disk, [`identity`] what it hands out, [`subject`] how users and groups are written into certificates, [`renewal`]
//! when a stored certificate is made anew; [`token`] are bearer tokens and [`ring_jwt`] their cryptography; [`tls`] and [`kubeconfig`] are what
//! servers and clients make of it; [`files`] is how secrets get to disk and [`error`] what can go wrong.

pub mod ca;
pub mod error;
pub mod files;
pub mod identity;
pub mod kubeconfig;
pub mod renewal;
mod ring_jwt;
pub mod subject;
pub mod tls;
pub mod token;

pub use ca::{Ca, Names};
pub use error::PkiError;
pub use identity::Identity;
pub use kubeconfig::{Credential, Kubeconfig};
pub use subject::Subject;
pub use tls::{client_config, server_config};
pub use token::{Claims, TokenError, TokenKey, TokenRequest};
