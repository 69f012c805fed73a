//! Probes by gRPC's health checking protocol (`grpc.health.v1.Health/Check`), as much of gRPC and protobuf as that takes.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

/// The longest answer read: it has two bytes.
const ANSWER_LIMIT: usize = 4 << 10;
/// The longest name of a service: its length is written in one byte.
const NAME_LIMIT: usize = 127;
/// What a message begins with: whether it is compressed, and its length.
const HEAD: usize = 5;
/// `HealthCheckResponse.status`, field 1, a varint; and its value SERVING.
const STATUS: u8 = 0x08;
const SERVING: u8 = 1;

/// Asks whether `service` (all of it, where empty) is serving.
pub(super) async fn check<S>(stream: S, address: SocketAddr, service: &str) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(
            header::USER_AGENT,
            format!("kube-probe/{}", crate::machine::version()),
        )
        .body(Full::new(message(service)?))
        .map_err(|error| error.to_string())?;
    let failed = |error: hyper::Error| format!("error: health rpc failed: {error}");
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let mut connection = std::pin::pin!(connection);
    let asking = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let (parts, body) = answer.into_parts();
        if !parts.status.is_success() {
            return Err(format!(
                "error: health rpc answered with HTTP {}",
                parts.status
            ));
        }
        let body = Limited::new(body, ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| format!("error: health rpc failed: {error}"))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        judge(&parts.headers, &trailers, &body.to_bytes())
    };
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        biased;
        judged = asking.as_mut() => judged,
        ended = connection.as_mut() => match ended {
            Ok(()) => asking.await,
            Err(error) => Err(failed(error)),
        },
    }
}

/// `HealthCheckRequest` with its field 1, in a gRPC message.
fn message(service: &str) -> Result<Bytes, String> {
    if service.len() > NAME_LIMIT {
        return Err(format!(
            "the name of the service is longer than {NAME_LIMIT} bytes"
        ));
    }
    let mut body = BytesMut::new();
    if !service.is_empty() {
        body.put_u8(0x0a);
        // Bounded just above.
        body.put_u8(u8::try_from(service.len()).unwrap_or(u8::MAX));
        body.put_slice(service.as_bytes());
    }
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    message.put_slice(&body);
    Ok(message.freeze())
}

/// What an answer says.
fn judge(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    // An answer that is an error has it in its head.
    let text = |name: &str| {
        let value = trailers.get(name).or_else(|| headers.get(name))?;
        value.to_str().ok()
    };
    match text("grpc-status") {
        None | Some("0") => {}
        Some("12") => {
            return Err(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned(),
            );
        }
        Some(code) => {
            let why = text("grpc-message").unwrap_or_default();
            return Err(format!(
                "error: health rpc failed: rpc error: code = {code} desc = {why}"
            ));
        }
    }
    match body.get(HEAD..) {
        Some([STATUS, SERVING, ..]) => Ok(()),
        Some([STATUS, other, ..]) => Err(format!("service unhealthy (responded with {other})")),
        // Zero is not written.
        Some([]) => Err("service unhealthy (responded with 0)".to_owned()),
        _ => Err("error: health rpc answered with something else".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::{server, service::service_fn};
    use hyper_util::rt::TokioExecutor;
    use tokio::io::duplex;

    use super::*;

    /// Asks a server that answers with these bytes and this grpc-status.
    async fn told(answer: &'static [u8], status: &'static str) -> Result<(), String> {
        let (client, server) = duplex(1 << 16);
        let serve = service_fn(move |request: Request<hyper::body::Incoming>| async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let asked = request.into_body().collect().await?.to_bytes();
            assert_eq!(&asked[..], b"\0\0\0\0\x05\x0a\x03web");
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            let body = Full::new(Bytes::from_static(answer));
            let body = body.with_trailers(async { Some(Ok(trailers)) });
            Ok::<_, hyper::Error>(http::Response::new(body))
        });
        let serving = server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(server), serve);
        tokio::spawn(serving);
        check(client, "10.0.0.1:50051".parse().unwrap(), "web").await
    }

    #[tokio::test]
    async fn only_who_serves_is_healthy() {
        assert_eq!(told(b"\0\0\0\0\x02\x08\x01", "0").await, Ok(()));
        let not_serving = told(b"\0\0\0\0\x02\x08\x02", "0").await;
        assert_eq!(
            not_serving,
            Err("service unhealthy (responded with 2)".to_owned())
        );
        assert!(told(b"\0\0\0\0\0", "0").await.is_err());
        assert!(
            told(b"", "12")
                .await
                .unwrap_err()
                .contains("does not implement")
        );
        assert!(told(b"nonsense", "0").await.is_err());
    }
}
