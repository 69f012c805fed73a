//! What a node shows to other nodes: the certificate that it has for the API server, and by which name it knows theirs.

use std::sync::Arc;

use anyhow::Context;
use coracle_node::config::NodeIdentity;
use coracle_pki::Subject;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// What users of nodes are called.
pub(crate) const USER: &str = "system:node:";

/// The identity of node `name`, which believes what `authorities` issued.
pub(crate) fn identity(
    name: &str,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
) -> anyhow::Result<NodeIdentity> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority)
            .context("use the certificate of the cluster's authority")?;
    }
    let name_of = Arc::new(|certificate: &CertificateDer<'_>| {
        let subject = Subject::of_certificate(certificate).ok()?;
        subject.user.strip_prefix(USER).map(str::to_owned)
    });
    NodeIdentity::new(name.to_owned(), chain, key, roots, name_of)
        .context("use the node's certificate for links to other nodes")
}
