//! The image registry: OCI distribution API over content-addressed files.
