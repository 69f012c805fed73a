//! How a stream for a connection is begun, accepted and refused: the words of it.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest, server::SendResponse};
use http::{HeaderMap, Request, Response, StatusCode};

use crate::error::NetError;

/// The address that a connection comes from.
pub(super) const SOURCE: &str = "coracle-source";
/// The number of the request to dial that a stream answers.
pub(super) const ANSWER: &str = "coracle-answer";
/// Why there is no connection.
pub(super) const ERROR: &str = "coracle-error";
/// A stream's two directions, or why there is none.
pub(super) type Opened = Result<(SendStream<Bytes>, RecvStream), NetError>;

pub(super) fn request(target: SocketAddr) -> Result<Request<()>, NetError> {
    let request = Request::connect(target.to_string()).body(());
    request.map_err(|_| NetError::InvalidArgument)
}

pub(super) async fn begin(sender: SendRequest<Bytes>, request: Request<()>) -> Opened {
    let broken = |_| NetError::ConnectionReset;
    let mut sender = sender.ready().await.map_err(broken)?;
    let (response, send) = sender.send_request(request, false).map_err(broken)?;
    let response = response.await.map_err(broken)?;
    if response.status() == StatusCode::OK {
        return Ok((send, response.into_body()));
    }
    let code = get::<Code>(response.headers(), ERROR);
    Err(code.map_or(NetError::RemoteUnreachable, |code| code.0))
}

pub(super) fn accept(respond: &mut SendResponse<Bytes>) -> Result<SendStream<Bytes>, NetError> {
    let accepted = respond.send_response(Response::new(()), false);
    accepted.map_err(|_| NetError::ConnectionReset)
}

pub(super) fn refuse(
    respond: &mut SendResponse<Bytes>,
    status: StatusCode,
    error: Option<NetError>,
) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    if let Some(error) = error {
        put(response.headers_mut(), ERROR, code_of(error));
    }
    if let Err(error) = respond.send_response(response, true) {
        tracing::trace!(%error, "a refusal was not told");
    }
}

pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // All values here are digits, addresses and words.
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
}

pub(super) fn get<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The errors that are told across nodes, and their words.
const CODES: [(NetError, &str); 6] = [
    (NetError::AccessDenied, "access-denied"),
    (NetError::RemoteUnreachable, "remote-unreachable"),
    (NetError::ConnectionRefused, "connection-refused"),
    (NetError::ConnectionReset, "connection-reset"),
    (NetError::Timeout, "timeout"),
    (NetError::NewSocketLimit, "new-socket-limit"),
];

pub(super) fn code_of(error: NetError) -> &'static str {
    let known = CODES.iter().find(|(one, _)| *one == error);
    known.map_or("remote-unreachable", |(_, word)| word)
}

/// An error by its word.
pub(super) struct Code(pub(super) NetError);

impl std::str::FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let known = CODES.iter().find(|(_, word)| *word == text);
        known.map(|(error, _)| Self(*error)).ok_or(())
    }
}
