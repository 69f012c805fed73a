//! rustls configurations for the cluster's servers and clients. ring's cryptography, the cluster's CA and nothing else is trusted; the validity of
//! certificates is checked against the system's clock, which is rustls' own business.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, crypto::CryptoProvider, server::WebPkiClientVerifier,
};
use rustls_pki_types::CertificateDer;

use crate::{error::PkiError, identity, identity::Identity};

/// HTTP/2, as ALPN names it (RFC 7301).
pub const H2: &[u8] = b"h2";
/// HTTP/1.1, as ALPN names it.
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// For a server: asks for a client certificate, verifies one that is shown against the CA, and goes on without one. Offers HTTP/2 and HTTP/1.1.
///
/// # Errors
/// See [`PkiError`].
pub fn server_config(ca_pem: &str, identity: &Identity) -> Result<ServerConfig, PkiError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?.into(), provider())
        .allow_unauthenticated()
        .build()
        .map_err(PkiError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate()?], identity.key()?)
        .map_err(PkiError::Tls)?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    Ok(config)
}

/// For a client of the cluster's servers, with a certificate of its own or none. `protocols` are offered by ALPN, the favourite first; a connection
/// that is to be upgraded must offer [`HTTP_1_1`] alone.
///
/// # Errors
/// See [`PkiError`].
pub fn client_config(
    ca_pem: &str,
    identity: Option<&Identity>,
    protocols: &[&[u8]],
) -> Result<ClientConfig, PkiError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?
        .with_root_certificates(roots(ca_pem)?);
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(vec![identity.certificate()?], identity.key()?)
            .map_err(PkiError::Tls)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// ring, named explicitly: with several providers compiled in, rustls would not choose.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca_pem: &str) -> Result<RootCertStore, PkiError> {
    let certificate: CertificateDer<'static> = identity::certificate(ca_pem)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(PkiError::Tls)?;
    Ok(roots)
}

#[cfg(test)]
mod tests;
