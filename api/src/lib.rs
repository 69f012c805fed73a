//! The vocabulary of the Kubernetes API as data and pure functions: no I/O, no clock, no async.
//!
//! In reading order: [`names`] and [`quantity`] are small values; [`fields`] and [`status`] say what is wrong with an object and with a request;
//! [`schema`] knows the structure of kinds (with [`upstream`]) and [`registry`] everything else about them; [`decode`], [`protobuf`], [`strict`], [`patch`] and [`managed`] turn bytes
//! into objects and objects into others; [`selector`] chooses among them; [`defaulting`], [`validate`] and [`table`] are per kind and reached through
//! the registry; [`openapi`] describes it all to clients; [`pods`] reads pods the way controllers and nodes need;
//! [`image`] reads and writes images.

pub mod affinity;
pub mod channels;
pub mod decode;
pub mod defaulting;
pub mod fields;
pub mod image;
pub mod managed;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod pods;
pub mod protobuf;
pub mod quantity;
pub mod registry;
pub mod schema;
pub mod selector;
pub mod stats;
pub mod status;
pub mod strict;
pub mod table;
pub mod upstream;
pub mod validate;
