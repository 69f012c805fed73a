//! Connections that leave HTTP: what a client may upgrade to (WebSocket, SPDY/3.1), and the answer that does it. What is then said on the connection
//! is the business of [`crate::subresources`]; links of nodes upgrade by themselves ([`crate::links::upgrade`]).

pub mod channels;
pub mod spdy;
#[cfg(test)]
pub(crate) mod testing;
pub mod tunnel;

use std::time::Duration;

use axum::{BoxError, body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coracle_api::status::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{limits::StreamPermit, resources::Call};

/// A connection that has left HTTP.
pub type Io = TokioIo<Upgraded>;

/// A request extension by which a listener says when connections that have left HTTP must end. In-process clients have none.
#[derive(Clone, Debug)]
pub struct Ends(pub CancellationToken);

/// How long a client may take to close a connection on which all is said.
pub const LINGER: Duration = Duration::from_secs(2);
/// How long a client may take from the answer to the first byte of the new protocol.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How a SPDY client and server agree on what is said in the streams.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const SPDY: &str = "SPDY/3.1";
const WEBSOCKET: &str = "websocket";

/// What a client asks the connection to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// A WebSocket; `key` proves that the server understood.
    WebSocket {
        /// The client's key.
        key: HeaderValue,
        /// What may be said on it, best first.
        protocols: Vec<String>,
    },
    /// A SPDY/3.1 connection.
    Spdy {
        /// What may be said on it, best first.
        protocols: Vec<String>,
    },
}

impl Offer {
    /// What the headers of a request ask for.
    ///
    /// # Errors
    /// `BadRequest` when they ask for nothing that is served here.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let required = || ApiError::bad_request("Upgrade request required");
        if !words(headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade")) {
            return Err(required());
        }
        let wants = |what: &str| {
            words(headers, &header::UPGRADE).any(|word| word.eq_ignore_ascii_case(what))
        };
        let all = |name| words(headers, name).map(str::to_owned).collect();
        if wants(WEBSOCKET) {
            let key = headers.get(header::SEC_WEBSOCKET_KEY);
            return Ok(Self::WebSocket {
                key: key.cloned().ok_or_else(required)?,
                protocols: all(&header::SEC_WEBSOCKET_PROTOCOL),
            });
        }
        if wants(SPDY) {
            let protocols = all(&STREAM_PROTOCOL);
            return Ok(Self::Spdy { protocols });
        }
        Err(required())
    }

    /// The first of `served` that the client offers too. A client that offers nothing takes what `served` ends with.
    ///
    /// # Errors
    /// `BadRequest` when there is none.
    pub fn choose(&self, served: &[&'static str]) -> Result<&'static str, ApiError> {
        let (Self::WebSocket { protocols, .. } | Self::Spdy { protocols }) = self;
        let chosen = if protocols.is_empty() {
            served.last()
        } else {
            served
                .iter()
                .find(|one| protocols.iter().any(|offered| offered == *one))
        };
        chosen.copied().ok_or_else(|| {
            ApiError::bad_request(format!(
                "unable to negotiate protocol: client supports {protocols:?}, server accepts {served:?}"
            ))
        })
    }

    /// The answer that upgrades, speaking `protocol`.
    ///
    /// # Errors
    /// `Internal` for a protocol that is no header value.
    pub fn accept(&self, protocol: &str) -> Result<Response, ApiError> {
        let internal = |error| ApiError::internal(format!("answer an upgrade: {error}"));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let spoken = HeaderValue::from_str(protocol).map_err(internal)?;
        match self {
            Self::WebSocket { key, protocols } => {
                headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
                let accept = HeaderValue::from_str(&accept(key)).map_err(internal)?;
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                if !protocols.is_empty() {
                    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, spoken);
                }
            }
            Self::Spdy { .. } => {
                headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
                headers.insert(STREAM_PROTOCOL, spoken);
            }
        }
        Ok(response)
    }
}

/// What is said on a connection once it has left HTTP: runs beside the request that upgraded it, until it or the server ends.
pub struct Session {
    upgrade: OnUpgrade,
    ends: CancellationToken,
    permit: StreamPermit,
    user: String,
}

impl Session {
    /// Of a request that asks for an upgrade.
    ///
    /// # Errors
    /// `BadRequest` where there is no connection of its own to take over (HTTP/2, in-process clients), `TooManyRequests`.
    pub fn of(call: &Call<'_>) -> Result<Self, ApiError> {
        let extensions = &call.parts.extensions;
        let upgrade = extensions.get::<OnUpgrade>().cloned().ok_or_else(|| {
            ApiError::bad_request("this connection cannot be upgraded: use HTTP/1.1")
        })?;
        let ends = extensions.get::<Ends>().map(|ends| ends.0.clone());
        Ok(Self {
            upgrade,
            ends: ends.unwrap_or_default(),
            permit: call.server.gate.open_stream(&call.user.name)?,
            user: call.user.name.clone(),
        })
    }

    /// Has `speak` use the connection as soon as the client has its answer.
    pub fn spawn<F>(self, about: String, speak: impl FnOnce(Io) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        let span = tracing::debug_span!("session", user = self.user, about);
        let session = async move {
            let _held = self.permit;
            let speaking = async {
                let upgraded = timeout(HANDSHAKE, self.upgrade).await??;
                speak(TokioIo::new(upgraded)).await
            };
            tokio::select! {
                () = self.ends.cancelled() => {}
                spoken = speaking => if let Err(error) = spoken {
                    tracing::debug!(error, "a session ended before its end");
                }
            }
        };
        tokio::spawn(session.instrument(span));
    }
}

/// What proves to a client that its key was understood (RFC 6455, section 4.2.2).
fn accept(key: &HeaderValue) -> String {
    const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(MAGIC);
    STANDARD.encode(digest.finish())
}

/// The items of a header that is a list, over all its lines.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let each = of.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        each.fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
    }

    #[test]
    fn websockets_are_upgraded_as_their_standard_says() {
        // The example of RFC 6455, section 1.3.
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            (
                "sec-websocket-protocol",
                "v5.channel.k8s.io, v4.channel.k8s.io",
            ),
        ]);
        let offer = Offer::of(&asked).unwrap();
        assert_eq!(
            offer
                .choose(&["v4.channel.k8s.io", "channel.k8s.io"])
                .unwrap(),
            "v4.channel.k8s.io"
        );
        let refused = offer.choose(&["channel.k8s.io"]).unwrap_err();
        assert_eq!(refused.code, 400);
        let response = offer.accept("v4.channel.k8s.io").unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(
            response.headers()["sec-websocket-protocol"],
            "v4.channel.k8s.io"
        );
    }

    #[test]
    fn spdy_is_upgraded_and_anything_else_refused() {
        let asked = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ]);
        let offer = Offer::of(&asked).unwrap();
        let chosen = offer
            .choose(&["v3.channel.k8s.io", "v2.channel.k8s.io"])
            .unwrap();
        let response = offer.accept(chosen).unwrap();
        assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
        assert_eq!(
            response.headers()["x-stream-protocol-version"],
            "v3.channel.k8s.io"
        );
        for refused in [
            vec![],
            vec![("connection", "upgrade")],
            vec![("connection", "upgrade"), ("upgrade", "h2c")],
            vec![("upgrade", "websocket"), ("sec-websocket-key", "x")],
            vec![("connection", "upgrade"), ("upgrade", "websocket")],
        ] {
            assert_eq!(
                Offer::of(&headers(&refused)).unwrap_err().code,
                400,
                "{refused:?}"
            );
        }
    }
}
