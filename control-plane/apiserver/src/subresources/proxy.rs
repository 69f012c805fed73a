//! `pods/proxy`, `services/proxy` and `nodes/proxy`: an HTTP request passed on to a server in a pod, behind a Service or on a node, over the node's link. What
//! concerns the connection to this server, and who the client is, stays here. Bodies are streamed both ways; links in pages are not rewritten.

mod target;

use axum::{body::Body, response::Response};
use coracle_api::status::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use self::target::Target;
use crate::{
    error,
    links::duplex::{Duplex, OpenError},
    resources::Call,
};

/// Headers that concern one connection (RFC 9110, section 7.6.1), and those that say who the client is to this server.
const OWN: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::AUTHORIZATION,
];
/// Headers of impersonation begin so.
const IMPERSONATION: &str = "impersonate-";

/// Passes a request on.
pub(super) async fn pass(call: &Call<'_>, name: &str, body: Body) -> Result<Response, ApiError> {
    let path = call.parts.uri.path();
    let at = rest_of(call, path)?;
    let (prefix, rest) = path.split_at_checked(at).unwrap_or((path, ""));
    if rest.is_empty() && call.parts.method.is_safe() {
        return redirect(call, prefix);
    }
    let target = Target::find(call, name).await?;
    let rest = if rest.is_empty() { "/" } else { rest };
    let uri = match call.parts.uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let mut request = Request::new(body);
    *request.method_mut() = call.parts.method.clone();
    *request.uri_mut() = uri
        .parse::<Uri>()
        .map_err(|error| ApiError::bad_request(format!("{uri:?}: {error}")))?;
    *request.headers_mut() = passed_on(call.headers());
    let permit = call.server.gate.open_stream(&call.user.name)?;
    let answer = match target {
        Target::Node(node) => {
            let answer = call.server.nodes.call(&node, request).await;
            answer.map_err(error::from_link)?
        }
        Target::Pod(pod) => {
            let host = HeaderValue::from_str(&pod.host);
            let host =
                host.map_err(|error| ApiError::internal(format!("write a host: {error}")))?;
            request.headers_mut().insert(header::HOST, host);
            let opened = call.server.nodes.open(&pod.node, &pod.uri).await;
            ask(opened.map_err(refusal)?.into(), request).await?
        }
    };
    let (mut parts, body) = answer.into_parts();
    parts.headers = passed_on(&parts.headers);
    relocate(&mut parts.headers, prefix);
    // HTTP versions are each connection's own.
    parts.version = http::Version::HTTP_11;
    let body = Body::new(body.map_frame(move |frame| {
        let _held = &permit;
        frame
    }));
    let guarded = call.server.streams.guard(body, call.cut_off());
    Ok(Response::from_parts(parts, guarded))
}

/// Where in the path begins what follows `/proxy`, as it was sent: nothing in it is decoded, and slashes at its end mean something.
fn rest_of(call: &Call<'_>, path: &str) -> Result<usize, ApiError> {
    // api, version, and the subresource's own; with a namespace, its two.
    let segments = if call.path.namespace.is_some() { 7 } else { 5 };
    let (mut seen, mut in_segment) = (0, false);
    for (at, byte) in path.bytes().enumerate() {
        if byte == b'/' {
            if in_segment && seen == segments {
                return Ok(at);
            }
            in_segment = false;
        } else if !in_segment {
            in_segment = true;
            seen += 1;
        }
    }
    if seen == segments {
        return Ok(path.len());
    }
    Err(ApiError::no_such_resource())
}

/// A server's root is a directory: relative links work below `/proxy/` alone.
fn redirect(call: &Call<'_>, prefix: &str) -> Result<Response, ApiError> {
    let query = call.parts.uri.query();
    let to = query.map_or_else(
        || format!("{prefix}/"),
        |query| format!("{prefix}/?{query}"),
    );
    let to = HeaderValue::from_str(&to)
        .map_err(|error| ApiError::internal(format!("write a location: {error}")))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(response)
}

/// The headers that the other side gets.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let listed: Vec<&str> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let mut kept = headers.clone();
    for name in headers.keys() {
        let is_own = OWN.contains(name)
            || name.as_str().starts_with(IMPERSONATION)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
            || listed
                .iter()
                .any(|one| one.eq_ignore_ascii_case(name.as_str()));
        if is_own {
            kept.remove(name);
        }
    }
    kept
}

/// A redirection within the other server stays within the proxy.
fn relocate(headers: &mut HeaderMap, prefix: &str) {
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    if let Some(path) = location.filter(|path| path.starts_with('/') && !path.starts_with("//"))
        && let Ok(moved) = HeaderValue::from_str(&format!("{prefix}{path}"))
    {
        headers.insert(header::LOCATION, moved);
    }
}

/// Sends a request over a connection of its own.
async fn ask(io: Duplex, request: Request<Body>) -> Result<Response, ApiError> {
    let failed = |error: hyper::Error| {
        ApiError::unavailable(format!("error trying to reach service: {error}"))
    };
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = shaken.map_err(failed)?;
    // Ends with the answer, however far that was read.
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(failed)?;
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _until_the_end = (&connection, &sender);
            frame
        }))
    }))
}

fn refusal(error: OpenError) -> ApiError {
    match error {
        OpenError::Link(error) => error::from_link(error),
        OpenError::Refused { message, .. } => {
            ApiError::unavailable(format!("error trying to reach service: {message}"))
        }
    }
}

#[cfg(test)]
mod tests;
