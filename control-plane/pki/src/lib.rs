//! The cluster's certificate authority, certificates, tokens and kubeconfigs.
