//! The Kubernetes API server: one generic pipeline over the registry of kinds.

pub mod auth;
pub mod links;
