//! Tokens that hold and tokens that do not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const AUDIENCE: &str = "https://kubernetes.default.svc";

fn now() -> Timestamp {
    Timestamp::from_second(1_893_456_000).unwrap()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_893_456_000 + seconds).unwrap()
}

fn key() -> TokenKey {
    let dir = tempfile::tempdir().unwrap();
    TokenKey::load_or_create(dir.path(), AUDIENCE, AUDIENCE).unwrap()
}

fn request() -> TokenRequest {
    TokenRequest {
        user: "jane".to_owned(),
        groups: vec!["dev".to_owned(), "ops".to_owned()],
        uid: Some("42".to_owned()),
        audiences: Vec::new(),
        ttl: Duration::from_secs(3600),
        bound: None,
    }
}

#[test]
fn a_token_says_who_it_is_for_until_it_ends() {
    let key = key();
    let token = key.sign(&request(), now()).unwrap();
    let claims = key.verify(&token, after(3600)).unwrap();
    assert_eq!((&*claims.sub, &*claims.iss), ("jane", AUDIENCE));
    assert_eq!(claims.groups, ["dev", "ops"]);
    assert_eq!(claims.uid.as_deref(), Some("42"));
    assert_eq!(claims.exp - claims.iat, 3600);
    let other = key.sign(&request(), now()).unwrap();
    assert_ne!(claims.jti, key.verify(&other, now()).unwrap().jti);
    assert!(matches!(
        key.verify(&token, after(3611)),
        Err(TokenError::Expired(_))
    ));
    assert!(matches!(
        key.verify(&token, after(-11)),
        Err(TokenError::NotYetValid(_))
    ));
    assert!(key.verify(&token, after(-9)).is_ok());
}

#[test]
fn the_key_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let load = || TokenKey::load_or_create(dir.path(), AUDIENCE, AUDIENCE).unwrap();
    let token = load().sign(&request(), now()).unwrap();
    assert_eq!(load().verify(&token, now()).unwrap().sub, "jane");
    std::fs::write(dir.path().join("token.key"), "nonsense").unwrap();
    let error = TokenKey::load_or_create(dir.path(), AUDIENCE, AUDIENCE).unwrap_err();
    assert!(matches!(error, PkiError::Unusable { .. }), "{error}");
}

#[test]
fn a_token_for_another_audience_or_of_another_maker_is_not_believed() {
    let key = key();
    let elsewhere = TokenRequest {
        audiences: vec!["vault".to_owned()],
        ..request()
    };
    let token = key.sign(&elsewhere, now()).unwrap();
    assert!(matches!(
        key.verify(&token, now()),
        Err(TokenError::Invalid(_))
    ));
    assert!(key.verify_for(&token, "vault", now()).is_ok());
    let dir = tempfile::tempdir().unwrap();
    let here = TokenKey::load_or_create(dir.path(), AUDIENCE, AUDIENCE).unwrap();
    let there = TokenKey::load_or_create(dir.path(), "https://other", AUDIENCE).unwrap();
    let token = there.sign(&request(), now()).unwrap();
    assert!(matches!(
        here.verify(&token, now()),
        Err(TokenError::Invalid(_))
    ));
}

/// A token with this header and these claims, and this signature.
fn forged(header: &serde_json::Value, claims: &serde_json::Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    [
        part(header.to_string().as_bytes()),
        part(claims.to_string().as_bytes()),
        part(signature),
    ]
    .join(".")
}

#[test]
fn forgeries_are_not_believed() {
    let key = key();
    let token = key.sign(&request(), now()).unwrap();
    let claims = json!({"iss": AUDIENCE, "aud": [AUDIENCE], "sub": "root", "groups": ["system:masters"],
        "iat": 0, "nbf": 0, "exp": 9_999_999_999_i64, "jti": "x"});
    let signature = URL_SAFE_NO_PAD
        .decode(token.rsplit_once('.').unwrap().1)
        .unwrap();
    let hmac = {
        // The classic confusion: the public key taken for a shared secret.
        let secret = ring::hmac::Key::new(
            ring::hmac::HMAC_SHA256,
            key.verifying.try_get_as_bytes().unwrap(),
        );
        let unsigned = forged(&json!({"alg": "HS256"}), &claims, b"");
        let tag = ring::hmac::sign(&secret, unsigned.trim_end_matches('.').as_bytes());
        format!("{unsigned}{}", URL_SAFE_NO_PAD.encode(tag))
    };
    for (name, forgery) in [
        (
            "other claims",
            forged(&json!({"alg": "ES256"}), &claims, &signature),
        ),
        (
            "no algorithm",
            forged(&json!({"alg": "none"}), &claims, b""),
        ),
        (
            "no signature",
            forged(&json!({"alg": "ES256"}), &claims, b""),
        ),
        (
            "zero signature",
            forged(&json!({"alg": "ES256"}), &claims, &[0; 64]),
        ),
        (
            "another algorithm",
            forged(&json!({"alg": "ES384"}), &claims, &signature),
        ),
        ("key as secret", hmac),
        ("another key", self::key().sign(&request(), now()).unwrap()),
        ("cut", token[..token.len() - 2].to_owned()),
        ("empty", String::new()),
        ("dots", "..".to_owned()),
    ] {
        let verified = key.verify(&forgery, now());
        assert!(
            matches!(verified, Err(TokenError::Invalid(_))),
            "{name}: {verified:?}"
        );
    }
    let long = "x".repeat(MAX_TOKEN_BYTES + 1);
    assert!(matches!(
        key.verify(&long, now()),
        Err(TokenError::TooLong(_))
    ));
}

#[test]
fn an_endless_token_is_not_made() {
    let request = TokenRequest {
        ttl: Duration::MAX,
        ..request()
    };
    assert!(key().sign(&request, now()).is_err());
}

proptest! {
    /// Changing any one character of a token makes it worthless.
    #[test]
    fn no_changed_token_is_believed(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        thread_local! {
            static KEY: TokenKey = key();
        }
        KEY.with(|key| {
            let token = key.sign(&request(), now()).unwrap();
            let at = at.index(token.len());
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != token);
            // The last character of a part has bits that decode to nothing; strict base64 refuses other values of them.
            prop_assert!(key.verify(&changed, now()).is_err());
            Ok(())
        })?;
    }
}
