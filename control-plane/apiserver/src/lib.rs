//! The Kubernetes API server: one generic pipeline over the registry of kinds.
