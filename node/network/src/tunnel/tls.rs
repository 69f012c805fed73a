//! Who is who between nodes: both sides show the certificate of their node, issued by the cluster's authority. Names are those in certificates, never
//! addresses, as nodes move.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::link::LinkError;

/// The protocol's name in the handshake.
const PROTOCOL: &[u8] = b"coracle-tunnel/1";

/// Reads the name of the node that a certificate is for.
pub type NameOf = Arc<dyn Fn(&CertificateDer<'_>) -> Option<String> + Send + Sync>;

/// What a node shows, and whom it believes.
#[derive(Clone)]
pub struct NodeIdentity {
    /// The node's name.
    pub(super) node: String,
    acceptor: TlsAcceptor,
    connector: Connecting,
    name_of: NameOf,
}

/// What is needed to make a connector for one node.
#[derive(Clone)]
struct Connecting {
    verifier: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    provider: Arc<CryptoProvider>,
}

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The authority's.
    #[error("use the certificates of the cluster's authority")]
    Roots(#[source] rustls::server::VerifierBuilderError),
    /// The node's own.
    #[error("use the node's certificate and key")]
    Own(#[source] rustls::Error),
}

impl NodeIdentity {
    /// The identity of `node`, with its certificate and key, among nodes whose certificates `roots` issued. `name_of` reads names from them.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(
        node: String,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: RootCertStore,
        name_of: NameOf,
    ) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(IdentityError::Roots)?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::Own)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(IdentityError::Own)?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        let connector = Connecting {
            verifier,
            chain,
            key: Arc::new(key),
            provider,
        };
        // What is wrong with the certificate is found now, not with the first connection.
        connector.config("", &name_of).map_err(IdentityError::Own)?;
        Ok(Self {
            node,
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector,
            name_of,
        })
    }

    /// Shakes hands with `node`, and nobody else, on a connection that this side opened.
    pub(super) async fn connect(
        &self,
        node: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, LinkError> {
        let config = self.connector.config(node, &self.name_of)?;
        let connector = TlsConnector::from(Arc::new(config));
        // The certificate is checked for the node's name; the handshake wants one too.
        let name = ServerName::try_from("node.coracle.invalid")
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(connector.connect(name, stream).await?.into())
    }

    /// Shakes hands with whoever opened a connection, and says which node it is.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(String, TlsStream<TcpStream>), LinkError> {
        let stream = self.acceptor.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let name = shown.and_then(|certificate| (self.name_of)(certificate));
        let name = name.ok_or(LinkError::Nameless)?;
        if session.alpn_protocol() != Some(PROTOCOL) {
            return Err(LinkError::Protocol);
        }
        Ok((name, stream.into()))
    }
}

impl Connecting {
    fn config(&self, node: &str, name_of: &NameOf) -> Result<ClientConfig, rustls::Error> {
        let verifier = Arc::new(OneNode {
            node: node.to_owned(),
            inner: Arc::clone(&self.verifier),
            name_of: Arc::clone(name_of),
        });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(config)
    }
}

/// Believes the certificate of one node. Nodes have certificates for clients alone, so the side that was dialled is checked as a client is.
struct OneNode {
    node: String,
    inner: Arc<dyn ClientCertVerifier>,
    name_of: NameOf,
}

impl fmt::Debug for OneNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneNode")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for OneNode {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_client_cert(shown, intermediates, now)?;
        if (self.name_of)(shown).as_deref() != Some(self.node.as_str()) {
            return Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::NotValidForName,
            ));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}
