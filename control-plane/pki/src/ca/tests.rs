//! The authority on disk and what it writes into certificates.

use std::fs;

use proptest::prelude::*;

use super::*;

/// 2030-01-01.
fn now() -> Timestamp {
    Timestamp::from_second(1_893_456_000).unwrap()
}

fn days(n: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_hours(24 * n)
}

#[test]
fn the_authority_is_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let made = Ca::load_or_create(dir.path(), now()).unwrap();
    let loaded = Ca::load_or_create(dir.path(), now() + days(100)).unwrap();
    assert_eq!(made.cert_pem(), loaded.cert_pem());
    let identity = Identity {
        cert_pem: made.cert_pem().to_owned(),
        key_pem: String::new(),
    };
    let (begins, ends) = identity.validity().unwrap();
    assert_eq!(begins, now() - jiff::SignedDuration::from_mins(5));
    assert_eq!(ends, now() + days(3650));
    // Both sign for the same root.
    let node = loaded.node("n1", now()).unwrap();
    assert_eq!(crate::renewal::needed(&made, &node, None, now()), None);
}

#[test]
fn a_lost_certificate_is_made_again_with_the_key_and_a_lost_key_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = Ca::load_or_create(dir.path(), now()).unwrap();
    let node = first.node("n1", now()).unwrap();
    fs::remove_file(dir.path().join("ca.crt")).unwrap();
    let second = Ca::load_or_create(dir.path(), now() + days(1)).unwrap();
    assert_ne!(first.cert_pem(), second.cert_pem());
    assert_eq!(crate::renewal::needed(&second, &node, None, now()), None);
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = Ca::load_or_create(dir.path(), now()).unwrap_err();
    assert!(matches!(error, PkiError::Incomplete { .. }), "{error}");
    assert!(!dir.path().join("ca.key").exists());
}

#[test]
fn a_damaged_or_foreign_authority_is_refused_and_left_alone() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = Ca::load_or_create(dir.path(), now()).unwrap();
    Ca::load_or_create(other.path(), now()).unwrap();
    let cert = dir.path().join("ca.crt");
    fs::copy(other.path().join("ca.crt"), &cert).unwrap();
    let error = Ca::load_or_create(dir.path(), now()).unwrap_err();
    assert!(matches!(error, PkiError::Mismatch { .. }), "{error}");
    let leaf = ca.node("n1", now()).unwrap();
    for broken in ["", "nonsense", &leaf.cert_pem] {
        fs::write(&cert, broken).unwrap();
        let error = Ca::load_or_create(dir.path(), now()).unwrap_err();
        assert!(matches!(error, PkiError::Unusable { .. }), "{error}");
        assert_eq!(fs::read_to_string(&cert).unwrap(), broken);
    }
}

#[test]
fn a_client_certificate_names_its_user_and_all_groups() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::load_or_create(dir.path(), now()).unwrap();
    let hour = Duration::from_secs(3600);
    let jane = ca
        .client("jane", ["dev", "ops", "dev:lead"], hour, now())
        .unwrap();
    let subject = Subject::of_certificate(&jane.certificate().unwrap()).unwrap();
    assert_eq!(
        subject,
        Subject::new("jane", ["dev", "ops", "dev:lead"]).unwrap()
    );
    assert_eq!(
        jane.validity().unwrap().1,
        now() + jiff::SignedDuration::from_hours(1)
    );
    let node = ca.node("edge-7", now()).unwrap();
    let subject = Subject::of_certificate(&node.certificate().unwrap()).unwrap();
    assert_eq!(subject.user, "system:node:edge-7");
    assert_eq!(subject.groups, ["system:nodes"]);
    // Nobody gets more than a year.
    let century = Duration::from_secs(100 * 365 * 86_400);
    let long = ca.client::<&str>("jane", [], century, now()).unwrap();
    assert_eq!(long.validity().unwrap().1, now() + days(365));
    let error = ca.node("", now()).unwrap_err();
    assert!(matches!(error, PkiError::Name { .. }), "{error}");
}

#[test]
fn a_server_certificate_carries_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::load_or_create(dir.path(), now()).unwrap();
    let names = Names::parse([
        "localhost",
        "kubernetes.default.svc",
        "127.0.0.1",
        "fd00::1",
    ]);
    let server = ca.server(&names, now()).unwrap();
    assert_eq!(server.names().unwrap(), names);
    let error = ca.server(&Names::parse(["bücher"]), now()).unwrap_err();
    assert!(matches!(error, PkiError::Name { .. }), "{error}");
    assert!(!format!("{server:?}").contains("PRIVATE"));
}

#[test]
fn times_outside_of_x509_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::load_or_create(dir.path(), now()).unwrap();
    for odd in [Timestamp::MIN, Timestamp::MAX] {
        assert!(
            matches!(ca.node("n", odd), Err(PkiError::Name { .. })),
            "{odd}"
        );
    }
    assert!(ca.node("n", Timestamp::UNIX_EPOCH).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a subject takes comes out of the certificate as it went in.
    #[test]
    fn subjects_survive_the_certificate(user in "[ -~äé中]{1,300}", groups in prop::collection::vec("[ -~ß]{1,40}", 0..6)) {
        thread_local! {
            static CA: Ca = {
                let dir = tempfile::tempdir().unwrap();
                Ca::load_or_create(dir.path(), now()).unwrap()
            };
        }
        let subject = Subject::new(user, groups).unwrap();
        let identity = CA
            .with(|ca| ca.client(&subject.user, subject.groups.clone(), LEAF_LIFETIME, now()))
            .unwrap();
        let read = Subject::of_certificate(&identity.certificate().unwrap()).unwrap();
        prop_assert_eq!(read, subject);
    }
}
