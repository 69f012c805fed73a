//! The controllers at work: the real API server on a store in memory, the real controllers, the driver between them. No nodes: tests say themselves how pods
//! are doing.

mod cluster;
mod collection;
mod events;
mod losses;
mod namespaces;
mod services;
mod workloads;
