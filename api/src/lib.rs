//! Wire types, the registry of kinds and pure helpers of the Kubernetes API.
