//! An authority for tests, which issues nodes their certificates.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::tls::{NameOf, NodeIdentity};

/// Makes certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

/// A certificate and its key, as bytes: what one host gives another process.
pub struct Papers {
    /// The authority's certificate.
    pub root: Vec<u8>,
    /// The node's.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "cluster");
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { issuer, root }
    }

    /// A node's certificate: for a client, as nodes have it.
    pub fn papers(&self, node: &str) -> Papers {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let name = format!("system:node:{node}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Papers {
            root: self.root.to_vec(),
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
        }
    }
}

impl Papers {
    /// The identity that says to be `node`.
    pub fn identity(&self, node: &str) -> NodeIdentity {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone().into()).unwrap();
        let chain = vec![self.certificate.clone().into()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        NodeIdentity::new(node.to_owned(), chain, key, roots, name_of()).unwrap()
    }
}

/// Reads the name of a node from its certificate.
pub fn name_of() -> NameOf {
    Arc::new(|certificate| {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
        name.strip_prefix("system:node:").map(str::to_owned)
    })
}
