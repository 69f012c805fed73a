//! When stored certificates are made anew.

use std::fs;

use super::*;

fn day(n: i64) -> Timestamp {
    Timestamp::from_second(1_893_456_000 + n * 86_400).unwrap()
}

#[test]
fn a_server_certificate_is_kept_until_it_nears_its_end_or_its_names_change() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::load_or_create(dir.path(), day(0)).unwrap();
    let names = Names::parse(["localhost", "127.0.0.1"]);
    let at = |names: &Names, time| ca.stored_server(dir.path(), "server", names, time).unwrap();
    let (first, reason) = at(&names, day(0));
    assert_eq!(reason, Some(Reason::Missing));
    assert_eq!(at(&names, day(273)), (first.clone(), None));
    let more = Names::parse(["localhost", "127.0.0.1", "10.0.0.1"]);
    let (second, reason) = at(&more, day(1));
    assert_eq!(reason, Some(Reason::Names));
    assert_ne!(first, second);
    assert_eq!(second.names().unwrap(), more);
    assert_eq!(at(&more, day(1)), (second, None));
    let (third, reason) = at(&more, day(280));
    assert_eq!(reason, Some(Reason::Ending));
    assert_eq!(at(&more, day(280)), (third, None));
    assert_eq!(at(&more, day(100)).1, Some(Reason::NotYetValid));
    assert_eq!(at(&more, day(600)).1, Some(Reason::Ending));
}

#[test]
fn damage_a_torn_renewal_and_another_ca_are_healed() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::load_or_create(dir.path(), day(0)).unwrap();
    let stored = || {
        ca.stored_client(dir.path(), "node", day(0), || ca.node("n1", day(0)))
            .unwrap()
    };
    let (first, _) = stored();
    assert_eq!(stored(), (first.clone(), None));
    // A crash after the new key was written and before the new certificate was.
    let key = dir.path().join("node.key");
    fs::write(&key, ca.node("n1", day(0)).unwrap().key_pem).unwrap();
    assert_eq!(stored().1, Some(Reason::Damaged));
    assert_eq!(stored().1, None);
    fs::write(dir.path().join("node.crt"), "nonsense").unwrap();
    assert_eq!(stored().1, Some(Reason::Damaged));
    fs::remove_file(&key).unwrap();
    assert_eq!(stored().1, Some(Reason::Missing));
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Ca::load_or_create(elsewhere.path(), day(0)).unwrap();
    assert_eq!(needed(&other, &first, None, day(0)), Some(Reason::OtherCa));
}
