//! Handshakes in memory, without sockets.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;
use crate::{
    ca::{Ca, Names},
    subject::Subject,
};

fn ca() -> Ca {
    let dir = tempfile::tempdir().unwrap();
    Ca::load_or_create(dir.path(), now()).unwrap()
}

/// rustls checks validity against the real clock.
fn now() -> Timestamp {
    Timestamp::now()
}

/// Runs a handshake to its end and says what the server saw, or why it failed.
fn shake(
    server: &ServerConfig,
    client: &ClientConfig,
    name: &'static str,
) -> Result<ServerConnection, String> {
    let mut server = ServerConnection::new(Arc::new(server.clone())).unwrap();
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(client.clone()), name).unwrap();
    let mut wire = Vec::new();
    for _ in 0..10 {
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut read = wire.as_slice();
        while !read.is_empty() {
            server.read_tls(&mut read).unwrap();
        }
        server
            .process_new_packets()
            .map_err(|e| format!("server: {e}"))?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut read = wire.as_slice();
        while !read.is_empty() {
            client.read_tls(&mut read).unwrap();
        }
        client
            .process_new_packets()
            .map_err(|e| format!("client: {e}"))?;
        wire.clear();
        if !server.is_handshaking() && !client.is_handshaking() && !client.wants_write() {
            return Ok(server);
        }
    }
    Err("the handshake does not end".to_owned())
}

#[test]
fn a_client_is_known_by_its_certificate_or_not_at_all() {
    let ca = ca();
    let identity = ca
        .server(&Names::parse(["localhost", "127.0.0.1"]), now())
        .unwrap();
    let server = server_config(ca.cert_pem(), &identity).unwrap();
    let hour = Duration::from_secs(3600);
    let jane = ca.client("jane", ["dev", "ops"], hour, now()).unwrap();
    let client = client_config(ca.cert_pem(), Some(&jane), &[H2, HTTP_1_1]).unwrap();
    let seen = shake(&server, &client, "127.0.0.1").unwrap();
    let peer = seen.peer_certificates().unwrap();
    let subject = Subject::of_certificate(&peer[0]).unwrap();
    assert_eq!(subject, Subject::new("jane", ["dev", "ops"]).unwrap());
    assert_eq!(seen.alpn_protocol(), Some(H2));
    let anonymous = client_config(ca.cert_pem(), None, &[HTTP_1_1]).unwrap();
    let seen = shake(&server, &anonymous, "localhost").unwrap();
    assert!(seen.peer_certificates().is_none());
    assert_eq!(seen.alpn_protocol(), Some(HTTP_1_1));
}

#[test]
fn strangers_are_refused_on_both_sides() {
    let (ca, other) = (ca(), ca());
    let identity = ca.server(&Names::parse(["localhost"]), now()).unwrap();
    let server = server_config(ca.cert_pem(), &identity).unwrap();
    let config = |ca: &Ca, identity| client_config(ca.cert_pem(), identity, &[]).unwrap();
    let foreign = other.node("n1", now()).unwrap();
    let error = shake(&server, &config(&ca, Some(&foreign)), "localhost").unwrap_err();
    assert!(
        error.starts_with("server: invalid peer certificate"),
        "{error}"
    );
    let error = shake(&server, &config(&other, None), "localhost").unwrap_err();
    assert!(
        error.starts_with("client: invalid peer certificate"),
        "{error}"
    );
    let error = shake(&server, &config(&ca, None), "example.org").unwrap_err();
    assert!(
        error.starts_with("client: invalid peer certificate"),
        "{error}"
    );
    // A server's certificate is no user's.
    let error = shake(&server, &config(&ca, Some(&identity)), "localhost").unwrap_err();
    assert!(
        error.starts_with("server: invalid peer certificate"),
        "{error}"
    );
    let year = jiff::SignedDuration::from_hours(24 * 366);
    let ended = ca.node("n1", now() - year).unwrap();
    let error = shake(&server, &config(&ca, Some(&ended)), "localhost").unwrap_err();
    assert!(error.contains("expired"), "{error}");
}
