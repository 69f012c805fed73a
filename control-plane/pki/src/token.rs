//! Bearer tokens: JSON web tokens (RFC 7519) signed with the cluster's ES256 key. Says who a token is for and until when; whether its user still
//! exists is for the caller to know.

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::{
    ca,
    error::PkiError,
    files::{self, Audience},
    ring_jwt,
};

/// Longer tokens are refused unread. A token with a hundred groups has about 4 KiB; HTTP servers take header lines up to about 8 to 16 KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How much the clocks of token maker and verifier may differ.
const LEEWAY_SECONDS: i64 = 10;

/// What a token says (RFC 7519, 4.1, and the user's groups).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made the token.
    pub iss: String,
    /// Whom it is for.
    pub aud: Vec<String>,
    /// The user.
    pub sub: String,
    /// The user's groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Tells apart users that have the same name at different times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// From when it is valid.
    pub nbf: i64,
    /// Until when it is valid.
    pub exp: i64,
    /// The token's own name, for audit.
    pub jti: String,
    /// What must still be there for the token to hold.
    #[serde(
        rename = "kubernetes.io",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub bound: Option<Bound>,
}

/// The objects a service account's token is bound to, under the names Kubernetes gives them. Whether they are there is for the caller to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Their namespace.
    pub namespace: String,
    /// The service account.
    pub serviceaccount: BoundObject,
    /// The pod that uses the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
}

/// An object by name and identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// The user.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// Tells apart users that have the same name at different times.
    pub uid: Option<String>,
    /// For whom, if not for the API server.
    pub audiences: Vec<String>,
    /// How long it is valid.
    pub ttl: Duration,
    /// What must still be there for it to hold.
    pub bound: Option<Bound>,
}

/// Why a token is not believed. Logged, never told to the client: it must not learn what to improve.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is longer than [`MAX_TOKEN_BYTES`].
    #[error("the token has {0} bytes")]
    TooLong(usize),
    /// It is no token, is signed by another key or algorithm, or is for another audience.
    #[error("the token does not verify")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    /// It has ended, at this second since 1970.
    #[error("the token ended at {0}")]
    Expired(i64),
    /// It begins later, at this second since 1970.
    #[error("the token begins at {0}")]
    NotYetValid(i64),
}

/// The key that signs and verifies tokens.
pub struct TokenKey {
    issuer: String,
    audience: String,
    id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl TokenKey {
    /// The key kept in `dir` (`token.key`), made if there is none. Tokens name `issuer` as their maker and, if nothing else is asked for, are for
    /// `audience`; the cluster's own URL serves as both.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn load_or_create(dir: &Path, issuer: &str, audience: &str) -> Result<Self, PkiError> {
        files::private_dir(dir)?;
        let path = dir.join("token.key");
        let key = match files::read(&path, Audience::Owner)? {
            Some(pem) => KeyPair::from_pem(&pem)
                .map_err(|error| PkiError::unusable(path.display().to_string(), error))?,
            None => {
                let key = ca::new_key()?;
                files::write(&path, key.serialize_pem().as_bytes(), Audience::Owner)?;
                key
            }
        };
        if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(PkiError::unusable(
                path.display().to_string(),
                "it is not a P-256 key",
            ));
        }
        ring_jwt::install();
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        Ok(Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            id: URL_SAFE_NO_PAD.encode(digest),
            signing: EncodingKey::from_ec_der(key.serialized_der()),
            verifying: DecodingKey::from_ec_der(key.der_bytes()),
        })
    }

    /// For whom tokens are that are not for somebody else.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Makes a token, valid from `now`.
    ///
    /// # Errors
    /// [`PkiError::Name`] when its end lies beyond all time, [`PkiError::Random`], [`PkiError::Unusable`] when the key does not sign.
    pub fn sign(&self, request: &TokenRequest, now: Timestamp) -> Result<String, PkiError> {
        let begin = now.as_second();
        let end = i64::try_from(request.ttl.as_secs())
            .ok()
            .and_then(|ttl| begin.checked_add(ttl))
            .ok_or_else(|| PkiError::Name {
                value: format!("{} s", request.ttl.as_secs()),
                field: "end",
            })?;
        let mut random = [0_u8; 16];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| PkiError::Random)?;
        let audiences = match request.audiences.as_slice() {
            [] => vec![self.audience.clone()],
            some => some.to_vec(),
        };
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: audiences,
            sub: request.user.clone(),
            groups: request.groups.clone(),
            uid: request.uid.clone(),
            iat: begin,
            nbf: begin,
            exp: end,
            jti: URL_SAFE_NO_PAD.encode(random),
            bound: request.bound.clone(),
        };
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, &claims, &self.signing)
            .map_err(|error| PkiError::unusable("the token key", error))
    }

    /// What a token says, if it was made by this key for this audience and is valid at `now`.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        self.verify_for(token, &self.audience, now)
    }

    /// As [`TokenKey::verify`], for another audience.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify_for(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong(token.len()));
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // The library asks the system's clock; ours is given.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &validation)
            .map_err(TokenError::Invalid)?
            .claims;
        let now = now.as_second();
        if claims.exp <= now.saturating_sub(LEEWAY_SECONDS) {
            return Err(TokenError::Expired(claims.exp));
        }
        if claims.nbf > now.saturating_add(LEEWAY_SECONDS) {
            return Err(TokenError::NotYetValid(claims.nbf));
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests;
