//! Questions and answers as upstream's DNS specification has them.

use proptest::prelude::*;

use super::*;
use crate::dns::tests::names;

fn ask(name: &str, of: RecordType) -> Message {
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), of));
    question.metadata.recursion_desired = true;
    let table = names();
    let bytes = question.to_vec().unwrap();
    let answer = answer(&bytes, table.names(), "cluster.local", Some(STREAM)).unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, 7);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    answer
}

/// The code, and the data of the answers.
fn told(name: &str, of: RecordType) -> (ResponseCode, Vec<String>) {
    let answer = ask(name, of);
    let data = answer.answers.iter().map(|one| one.data.to_string());
    (answer.metadata.response_code, data.collect())
}

#[test]
fn services_pods_and_ports_are_answered() {
    use RecordType::{A, AAAA, CNAME, PTR, SRV, TXT};
    for (name, of, expected) in [
        ("web.default.svc.cluster.local.", A, &["10.96.0.10"][..]),
        ("WEB.default.SVC.cluster.local.", A, &["10.96.0.10"]),
        ("web.default.svc.cluster.local.", AAAA, &[]),
        (
            "db.default.svc.cluster.local.",
            A,
            &["10.1.0.5", "10.1.0.6"],
        ),
        ("db-1.db.default.svc.cluster.local.", A, &["10.1.0.6"]),
        (
            "_http._tcp.web.default.svc.cluster.local.",
            SRV,
            &["0 100 80 web.default.svc.cluster.local."],
        ),
        (
            "_http._tcp.db.default.svc.cluster.local.",
            SRV,
            &[
                "0 50 5432 db-0.db.default.svc.cluster.local.",
                "0 50 5432 db-1.db.default.svc.cluster.local.",
            ],
        ),
        ("10-1-2-3.default.pod.cluster.local.", A, &["10.1.2.3"]),
        ("out.default.svc.cluster.local.", A, &["example.com."]),
        ("out.default.svc.cluster.local.", CNAME, &["example.com."]),
        (
            "inner.default.svc.cluster.local.",
            A,
            &["web.default.svc.cluster.local.", "10.96.0.10"],
        ),
        (
            "10.0.96.10.in-addr.arpa.",
            PTR,
            &["web.default.svc.cluster.local."],
        ),
        (
            "6.0.1.10.in-addr.arpa.",
            PTR,
            &["db-1.db.default.svc.cluster.local."],
        ),
        ("dns-version.cluster.local.", TXT, &["1.1.0"]),
        ("default.svc.cluster.local.", A, &[]),
    ] {
        let (code, data) = told(name, of);
        assert_eq!(data, expected, "{name} {of}");
        assert_eq!(code, ResponseCode::NoError, "{name} {of}");
    }
    let ports = ask("_http._tcp.db.default.svc.cluster.local.", RecordType::SRV);
    assert_eq!(ports.additionals.len(), 2, "where the ports are");
}

#[test]
fn what_is_not_there_is_told_apart_from_what_is_not_ours() {
    for name in [
        "nobody.default.svc.cluster.local.",
        "db-9.db.default.svc.cluster.local.",
        "x.web.default.svc.cluster.local.",
    ] {
        let answer = ask(name, RecordType::A);
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NXDomain,
            "{name}"
        );
        assert_eq!(answer.authorities.len(), 1, "for how long to remember that");
    }
    let nobody = told("9.9.9.9.in-addr.arpa.", RecordType::PTR).0;
    assert_eq!(nobody, ResponseCode::NXDomain);
    assert_eq!(told("example.com.", RecordType::A).0, ResponseCode::Refused);
    assert_eq!(
        told("notcluster.local.", RecordType::A).0,
        ResponseCode::Refused
    );
    // An alias that leads to itself ends.
    assert_eq!(
        told("loop.default.svc.cluster.local.", RecordType::A).0,
        ResponseCode::ServFail
    );
}

#[test]
fn what_does_not_fit_is_cut_and_said_to_be() {
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii("many.default.svc.cluster.local.").unwrap();
    question.add_query(Query::query(name, RecordType::A));
    let (table, domain) = (names(), "cluster.local");
    let ask = |question: &Message, room| {
        let bytes = question.to_vec().unwrap();
        let answer = answer(&bytes, table.names(), domain, room).unwrap();
        (answer.len(), Message::from_vec(&answer).unwrap())
    };
    let (size, cut) = ask(&question, None);
    assert!(size <= 512 && cut.metadata.truncation && cut.answers.is_empty());
    let (_, whole) = ask(&question, Some(STREAM));
    assert_eq!(whole.answers.len(), 100);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    question.set_edns(edns);
    let (size, large) = ask(&question, None);
    assert!(size > 512 && !large.metadata.truncation && large.answers.len() == 100);
}

proptest! {
    /// Whatever comes, nothing breaks, and an answer is one.
    #[test]
    fn nonsense_is_answered_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let table = names();
        if let Some(answer) = answer(&bytes, table.names(), "cluster.local", None) {
            prop_assert!(answer.len() <= 4096);
            prop_assert_eq!(Message::from_vec(&answer).unwrap().metadata.message_type, MessageType::Response);
        }
    }
}
