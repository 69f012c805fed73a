//! The continue token of a list in pages: which snapshot, and after which key. Opaque to clients, never trusted when it comes back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coracle_api::status::ApiError;
use coracle_store::Revision;
use serde::{Deserialize, Serialize};

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The snapshot the pages are cut from; `None` for pages of whatever is there now (after the snapshot expired).
    pub revision: Option<Revision>,
    /// The part of the last key behind the collection's prefix.
    pub after: String,
}

/// The token's JSON. The names are upstream's, so that tools that peek find what they know.
#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";
/// A key has at most two names of 253 bytes.
const MAX_TOKEN: usize = 2048;

impl Continuation {
    /// The token.
    #[must_use]
    pub fn encode(&self) -> String {
        let wire = Wire {
            v: VERSION.to_owned(),
            rv: self
                .revision
                .map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX)),
            start: self.after.clone(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
    }

    /// Reads a token a client sent.
    ///
    /// # Errors
    /// `BadRequest` for what was never given out.
    pub fn decode(token: &str) -> Result<Self, ApiError> {
        let refused =
            |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        if token.len() > MAX_TOKEN {
            return Err(refused("too long"));
        }
        let json = URL_SAFE_NO_PAD
            .decode(token.trim_end_matches('='))
            .map_err(|_| refused("not base64"))?;
        let wire: Wire = serde_json::from_slice(&json).map_err(|_| refused("not a token"))?;
        if wire.v != VERSION {
            return Err(refused("unknown version"));
        }
        if wire.start.is_empty() || wire.start.split('/').any(|part| part == "..") {
            return Err(refused("invalid start"));
        }
        let revision = match wire.rv {
            -1 => None,
            rv => match u64::try_from(rv) {
                Ok(rv) if rv > 0 => Some(Revision(rv)),
                _ => return Err(refused("invalid resourceVersion")),
            },
        };
        Ok(Self {
            revision,
            after: wire.start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for revision in [None, Some(Revision(1)), Some(Revision(77))] {
            let continuation = Continuation {
                revision,
                after: "default/web-1".to_owned(),
            };
            assert_eq!(
                Continuation::decode(&continuation.encode()).unwrap(),
                continuation
            );
        }
    }

    #[test]
    fn invented_tokens_are_refused() {
        let long = "a".repeat(10_000);
        let forged = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for bad in [
            "",
            "!!",
            "aGVsbG8",
            &long,
            &forged(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
            &forged(r#"{"v":"meta.k8s.io/v1","rv":-7,"start":"a"}"#),
            &forged(r#"{"v":"meta.k8s.io/v1","rv":5,"start":""}"#),
            &forged(r#"{"v":"meta.k8s.io/v1","rv":5,"start":"../../x"}"#),
            &forged(r#"{"v":"v9","rv":5,"start":"a"}"#),
        ] {
            assert_eq!(Continuation::decode(bad).unwrap_err().code, 400, "{bad}");
        }
    }
}
