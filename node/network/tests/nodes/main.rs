//! Nodes in network namespaces, each a host of its own with its own kernel stack: what becomes of connections between their pods when the link is lost, when
//! it carries one way alone, and when a node comes back. Needs root, for the namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![allow(missing_docs, reason = "a test")]

#[path = "../../src/tunnel/authority.rs"]
mod authority;
mod host;
mod namespaces;
mod scenarios;

/// Where `authority` looks for it.
mod tls {
    pub(crate) use coracle_network::tunnel::tls::{NameOf, NodeIdentity};
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "host") {
        host::run(&arguments[1..]);
        return;
    }
    if !namespaces::are_possible() {
        println!("skipped: network namespaces need root");
        return;
    }
    // As libtest: a word chooses tests by name.
    let wanted = arguments.iter().find(|word| !word.starts_with('-'));
    for (name, scenario) in scenarios::ALL {
        if wanted.is_none_or(|word| name.contains(word.as_str())) {
            scenario();
            println!("test {name} ... ok");
        }
    }
}
