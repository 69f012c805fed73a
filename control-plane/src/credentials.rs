//! Who may prove to be whom: kubeconfigs for users and nodes, made from the cluster's CA and token key. Works on the files alone, so that it
//! does not matter whether the control plane runs.

use std::{path::Path, sync::Arc, time::Duration};

use coracle_pki::{Ca, Credential, Identity, Kubeconfig, PkiError, TokenKey, TokenRequest};
use jiff::Timestamp;

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";
/// What the cluster is called in kubeconfigs, and the issuer and audience of its tokens.
const CLUSTER: &str = "coracle";
/// How long an administrator's certificate is valid. It is made anew whenever a kubeconfig is asked for.
const ADMIN_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// The cluster's CA and token key.
#[derive(Clone)]
pub struct Credentials {
    ca: Arc<Ca>,
    tokens: Arc<TokenKey>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those in `folder`, made now if there are none.
    ///
    /// # Errors
    /// When the files are damaged, readable by others, or cannot be written.
    pub fn open_or_create(folder: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let ca = Arc::new(Ca::load_or_create(folder, now)?);
        let tokens = Arc::new(TokenKey::load_or_create(folder, CLUSTER, CLUSTER)?);
        Ok(Self { ca, tokens })
    }

    /// The CA.
    #[must_use]
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// What bearer tokens are signed and checked with.
    #[must_use]
    pub fn tokens(&self) -> &Arc<TokenKey> {
        &self.tokens
    }

    /// The text of a kubeconfig for an administrator of the cluster at `server`.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn admin_kubeconfig(&self, server: &str) -> Result<String, PkiError> {
        let identity = self
            .ca
            .client("admin", [MASTERS], ADMIN_TTL, Timestamp::now())?;
        Ok(self.kubeconfig(server, "admin", Credential::Certificate(identity)))
    }

    /// The text of a kubeconfig with a bearer token.
    ///
    /// # Errors
    /// When no token can be made.
    pub fn token_kubeconfig(
        &self,
        server: &str,
        user: &str,
        groups: Vec<String>,
        ttl: Duration,
    ) -> Result<String, PkiError> {
        let request = TokenRequest {
            user: user.to_owned(),
            groups,
            ttl,
            ..TokenRequest::default()
        };
        let token = self.tokens.sign(&request, Timestamp::now())?;
        Ok(self.kubeconfig(server, user, Credential::Token(token)))
    }

    /// The text of a kubeconfig for the node called `name`.
    ///
    /// # Errors
    /// When `name` is no node's name or no certificate can be made.
    pub fn node_kubeconfig(&self, server: &str, name: &str) -> Result<String, PkiError> {
        let identity = self.node_identity(name)?;
        let user = format!("system:node:{name}");
        Ok(self.kubeconfig(server, &user, Credential::Certificate(identity)))
    }

    /// The identity of the node called `name`.
    ///
    /// # Errors
    /// When `name` is no node's name or no certificate can be made.
    pub fn node_identity(&self, name: &str) -> Result<Identity, PkiError> {
        self.ca.node(name, Timestamp::now())
    }

    fn kubeconfig(&self, server: &str, user: &str, credential: Credential) -> String {
        let config = Kubeconfig {
            server: server.to_owned(),
            ca_pem: self.ca.cert_pem().to_owned(),
            cluster: CLUSTER.to_owned(),
            user: user.to_owned(),
            namespace: None,
            credential,
        };
        config.to_yaml()
    }
}
