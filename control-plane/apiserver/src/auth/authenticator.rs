//! Finds out who makes a request: a verified client certificate, or a bearer token. There are no anonymous users. Says nothing about what they may do.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coracle_pki::{PkiError, TokenKey, subject::Subject, token::Claims};
use http::{HeaderMap, HeaderValue, header};

use super::{service_account, user::UserInfo};
use crate::ambient::Ambient;

/// Where images are pushed to and pulled from. Tools for images send a token as the password of HTTP Basic.
const IMAGES: &str = "/v2";
/// The longest value of an Authorization header that is looked at: a token in base64 with a name before it.
const LONGEST: usize = 2 * coracle_pki::token::MAX_TOKEN_BYTES;

/// Who a verified client certificate names. Put into requests by the listener.
#[derive(Clone, Debug)]
pub struct Peer(pub Arc<UserInfo>);

impl Peer {
    /// The user a certificate names, which TLS has verified.
    ///
    /// # Errors
    /// When it names none.
    pub fn of_certificate(der: &[u8]) -> Result<Self, PkiError> {
        let subject = Subject::of_certificate(der)?;
        Ok(Self(Arc::new(UserInfo::new(subject.user, subject.groups))))
    }
}

/// Why nobody is known to make a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// There is no certificate and no token that holds.
    Unauthorized,
}

/// Knows users by their certificates and tokens.
pub struct Authenticator {
    tokens: Arc<TokenKey>,
    ambient: Arc<dyn Ambient>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// An authenticator of the users of this cluster.
    #[must_use]
    pub fn new(tokens: Arc<TokenKey>, ambient: Arc<dyn Ambient>) -> Self {
        Self { tokens, ambient }
    }

    /// Who makes a request to `path` with these headers over the connection of `peer`.
    ///
    /// # Errors
    /// [`Unknown`]; why a token does not hold is logged and not told.
    pub fn authenticate(
        &self,
        peer: Option<&Peer>,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<UserInfo, Unknown> {
        match peer {
            // As upstream: a certificate comes first.
            Some(peer) => Ok(UserInfo::clone(&peer.0)),
            None => self.by_token(path, headers).ok_or(Unknown::Unauthorized),
        }
    }

    fn by_token(&self, path: &str, headers: &HeaderMap) -> Option<UserInfo> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        // Two are one too many: which of them a proxy has checked nobody knows.
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let token = token(value, is_of_images(path))?;
        match self.tokens.verify(&token, self.ambient.now()) {
            Ok(claims) => user_of(claims),
            Err(error) => {
                tracing::debug!(%error, "a bearer token does not hold");
                None
            }
        }
    }
}

/// The user a verified token names.
#[must_use]
pub fn user_of(claims: Claims) -> Option<UserInfo> {
    let mut user = UserInfo::new(claims.sub, claims.groups);
    user.uid = claims.uid;
    let id = vec![format!("JTI={}", claims.jti)];
    user.extra
        .insert("authentication.kubernetes.io/credential-id".to_owned(), id);
    if let Some(bound) = &claims.bound {
        service_account::add_extra(&mut user, bound);
    }
    (!user.name.is_empty()).then_some(user)
}

/// Whether a path is the image registry's.
#[must_use]
pub fn is_of_images(path: &str) -> bool {
    path.strip_prefix(IMAGES)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The token of an Authorization header: `Bearer TOKEN` or, where `basic` is taken, `Basic base64(ANYTHING:TOKEN)`.
fn token(value: &HeaderValue, basic: bool) -> Option<String> {
    let value = value.to_str().ok().filter(|value| value.len() <= LONGEST)?;
    let (scheme, rest) = value.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then(|| rest.to_owned());
    }
    if basic && scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (_, password) = decoded.split_once(':')?;
        return (!password.is_empty()).then(|| password.to_owned());
    }
    None
}

#[cfg(test)]
mod tests;
