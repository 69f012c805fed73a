//! The patches that make one object from another: RFC 6902, RFC 7386 and Kubernetes' strategic merge. Pure; what may be patched is decided later.

pub mod json;
pub mod merge;
pub mod strategic;
