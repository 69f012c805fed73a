//! Who is known and who is not.

use std::time::Duration;

use coracle_pki::{Ca, TokenRequest};
use jiff::Timestamp;

use super::*;
use crate::ambient::Fixed;

fn now() -> Timestamp {
    Timestamp::from_second(1_893_456_000).unwrap()
}

fn key() -> Arc<TokenKey> {
    let dir = tempfile::tempdir().unwrap();
    Arc::new(TokenKey::load_or_create(dir.path(), "coracle", "coracle").unwrap())
}

fn request() -> TokenRequest {
    TokenRequest {
        user: "jane".to_owned(),
        groups: vec!["dev".to_owned()],
        uid: Some("7".to_owned()),
        ttl: Duration::from_secs(60),
        ..TokenRequest::default()
    }
}

struct Fixture {
    authenticator: Authenticator,
    token: String,
}

fn fixture() -> Fixture {
    let key = key();
    let token = key.sign(&request(), now()).unwrap();
    Fixture {
        authenticator: Authenticator::new(key, Arc::new(Fixed::new(now()))),
        token,
    }
}

impl Fixture {
    fn known(&self, path: &str, authorization: &[&str]) -> Option<UserInfo> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        self.authenticator.authenticate(None, path, &headers).ok()
    }
}

#[test]
fn a_token_says_who_it_is() {
    let f = fixture();
    let bearer = format!("Bearer {}", f.token);
    let user = f.known("/api/v1/pods", &[&bearer]).unwrap();
    assert_eq!(user.name, "jane");
    assert_eq!(user.uid.as_deref(), Some("7"));
    assert_eq!(user.groups, ["dev", "system:authenticated"]);
    let id = &user.extra["authentication.kubernetes.io/credential-id"][0];
    assert!(id.starts_with("JTI=") && id.len() > 10);
    assert!(
        f.known("/", &[&bearer.to_lowercase()]).is_none(),
        "a token is case-sensitive"
    );
    assert!(f.known("/", &[&format!("bearer  {}", f.token)]).is_some());
}

#[test]
fn there_is_no_anonymous_user() {
    let f = fixture();
    let bearer = format!("Bearer {}", f.token);
    let other = key().sign(&request(), now()).unwrap();
    let old = TokenRequest {
        ttl: Duration::ZERO,
        ..request()
    };
    let nobody = TokenRequest {
        user: String::new(),
        ..request()
    };
    let sign = |request: &TokenRequest, at| {
        let token = f.authenticator.tokens.sign(request, at).unwrap();
        format!("Bearer {token}")
    };
    let hour_ago = now() - jiff::SignedDuration::from_hours(1);
    for authorization in [
        &[][..],
        &[""],
        &["Bearer"],
        &["Bearer "],
        &[&f.token],
        &[&format!("Token {}", f.token)],
        &[&format!("Bearer {other}")],
        &[&bearer, &bearer],
        &[&format!("{bearer}, {bearer}")],
        &[&sign(&old, hour_ago)],
        &[&sign(&nobody, now())],
        &[&format!("Bearer {}", "x".repeat(100_000))],
        &[&format!(
            "Basic {}",
            STANDARD.encode(format!("x:{}", f.token))
        )],
    ] {
        assert_eq!(
            f.known("/api/v1/pods", authorization),
            None,
            "{authorization:?}"
        );
    }
}

#[test]
fn tools_for_images_may_send_the_token_as_a_password() {
    let f = fixture();
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let good = basic(&format!("whoever:{}", f.token));
    for path in ["/v2", "/v2/", "/v2/hello/manifests/1.0"] {
        assert_eq!(f.known(path, &[&good]).unwrap().name, "jane", "{path}");
    }
    for path in ["/v2x", "/api/v2/", "/", "//v2/"] {
        assert_eq!(f.known(path, &[&good]), None, "{path}");
    }
    let odd = [
        basic("no-colon"),
        basic("user:"),
        "Basic !".to_owned(),
        "Basic".to_owned(),
    ];
    for bad in &odd {
        assert_eq!(f.known("/v2/", &[bad]), None, "{bad}");
    }
    assert!(f.known("/v2/", &[&format!("Bearer {}", f.token)]).is_some());
}

#[test]
fn a_certificate_comes_before_a_token() {
    let f = fixture();
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::load_or_create(dir.path(), now()).unwrap();
    let node = ca.node("n1", now()).unwrap();
    let peer = Peer::of_certificate(&node.certificate().unwrap()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        format!("Bearer {}", f.token).parse().unwrap(),
    );
    let user = f
        .authenticator
        .authenticate(Some(&peer), "/", &headers)
        .unwrap();
    assert_eq!(user.name, "system:node:n1");
    assert_eq!(user.node(), Some("n1"));
    assert!(Peer::of_certificate(b"no certificate").is_err());
}

#[test]
fn who_asks_to_be_somebody_else_is_still_who_they_are() {
    let f = fixture();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        format!("Bearer {}", f.token).parse().unwrap(),
    );
    for name in [
        "impersonate-user",
        "impersonate-group",
        "impersonate-extra-x",
        "impersonate-uid",
    ] {
        let mut headers = headers.clone();
        headers.insert(name, HeaderValue::from_static("root"));
        let known = f.authenticator.authenticate(None, "/", &headers);
        assert_eq!(known.unwrap().name, "jane", "{name}");
        // Whoever is unknown learns nothing about it.
        headers.remove(header::AUTHORIZATION);
        let known = f.authenticator.authenticate(None, "/", &headers);
        assert_eq!(known, Err(Unknown::Unauthorized), "{name}");
    }
}
