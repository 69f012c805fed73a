//! The controllers' decisions: one planner per controller, pure. No async, no client, no clock: what is seen goes in ([`caches`]), what is to be done
//! comes out ([`action::Plan`]); the control plane's driver does it.
//!
//! In reading order: [`action`] is what can be decided, [`caches`] what can be seen, [`controller`] what a controller is, [`registered`] which there are.
//! Then the controllers, and what they share: [`ownership`], [`conditions`], [`readiness`], [`revisions`], [`naming`], [`template`], [`merge`].

pub mod action;
pub mod kind;

pub mod caches;
pub mod controller;
pub mod memory;
pub mod registered;

pub mod autoscaler;
pub mod daemon_set;
pub mod deployment;
pub mod endpoints;
pub mod garbage;
pub mod job;
pub mod load_balancer;
pub mod namespace;
pub mod node_health;
pub mod replica_set;
pub mod service_account;
pub mod stateful_set;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod model;

pub mod conditions;
pub mod merge;
pub mod naming;
pub mod ownership;
pub mod readiness;
pub mod revisions;
pub mod template;
