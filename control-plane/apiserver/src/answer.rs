//! Answers that are not errors: objects in the negotiated form, statuses, warnings.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use coracle_api::{protobuf, registry::Resource, status::ApiError};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    meta,
    negotiation::{Media, PROTOBUF},
};

const WARNING: HeaderName = header::WARNING;
/// More than these warnings are cut: some clients refuse responses with very large headers. Upstream has the same bound.
const MAX_WARNINGS: usize = 64;
const MAX_WARNING_LENGTH: usize = 256;

/// An answer with a body in JSON, turned into YAML or protobuf where the client wants it.
///
/// # Errors
/// `Internal` when the body is not JSON.
pub fn json(code: StatusCode, body: Bytes, media: Media) -> Result<Response, ApiError> {
    let (body, content_type) = match media {
        Media::Json => (Body::from(body), "application/json"),
        Media::Yaml => (Body::from(yaml(&body)?), "application/yaml"),
        Media::Protobuf => (Body::from(protobuf(&parse(&body)?)?), PROTOBUF),
    };
    Ok(typed(code, body, content_type))
}

/// An answer with a JSON value. Where it is a Status, [`in_preferred_form`] may still change its form.
#[must_use]
pub fn value(code: StatusCode, value: &Value) -> Response {
    let mut response = typed(code, Body::from(value.to_string()), "application/json");
    if value.get("kind").is_some_and(|kind| kind == "Status") {
        response.extensions_mut().insert(Status(value.clone()));
    }
    response
}

/// Marks an answer whose body is this Status in JSON.
#[derive(Clone, Debug)]
struct Status(Value);

/// Puts a Status into protobuf for clients that prefer it. Statuses are made where nobody knows the client any more.
#[must_use]
pub fn in_preferred_form(mut response: Response, prefers_protobuf: bool) -> Response {
    let Some(Status(status)) = response.extensions_mut().remove() else {
        return response;
    };
    if !prefers_protobuf {
        return response;
    }
    match protobuf(&status) {
        Ok(body) => {
            let (mut parts, _) = response.into_parts();
            let content_type = HeaderValue::from_static(PROTOBUF);
            parts.headers.insert(header::CONTENT_TYPE, content_type);
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(body))
        }
        Err(error) => {
            tracing::error!(error = %error, "a status has no form in protobuf");
            response
        }
    }
}

/// An object in protobuf.
///
/// # Errors
/// `Internal` when it has no such form.
pub fn protobuf(object: &Value) -> Result<Vec<u8>, ApiError> {
    match protobuf::encode(object) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(ApiError::internal("encoding protobuf: the kind has none")),
        Err(error) => Err(ApiError::internal(format!("encoding protobuf: {error}"))),
    }
}

/// An answer of a content type.
#[must_use]
pub fn typed(code: StatusCode, body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn parse(json: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(json)
        .map_err(|error| ApiError::internal(format!("encoding an answer: {error}")))
}

fn yaml(json: &[u8]) -> Result<String, ApiError> {
    serde_saphyr::to_string(&parse(json)?)
        .map_err(|error| ApiError::internal(format!("encoding YAML: {error}")))
}

/// The metav1.Status of a deletion that is done.
#[must_use]
pub fn deleted(resource: &Resource, object: &Value) -> Value {
    let mut details = json!({
        "name": meta::name(object),
        "kind": resource.plural,
        "uid": meta::uid(object),
    });
    if !resource.group.is_empty() {
        meta::put(&mut details, "group", json!(resource.group));
    }
    success(Some(details))
}

/// A metav1.Status that says that all went well.
#[must_use]
pub fn success(details: Option<Value>) -> Value {
    let mut status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if let Some(details) = details {
        meta::put(&mut status, "details", details);
    }
    status
}

/// Adds Warning headers (RFC 9111 keeps the form `299 - "text"`), escaped and bounded.
pub fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings.iter().take(MAX_WARNINGS) {
        let mut text = String::from("299 - \"");
        for c in warning.chars().take(MAX_WARNING_LENGTH) {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => text.push(' '),
                c => text.push(c),
            }
        }
        text.push('"');
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_cannot_break_out_of_their_header() {
        let mut response = Response::new(Body::empty());
        let hostile = "unknown field \"a\r\nSet-Cookie: x\\\"".to_owned();
        warn(&mut response, &[hostile]);
        let header = response.headers().get(WARNING).unwrap().to_str().unwrap();
        assert_eq!(header, r#"299 - "unknown field \"a  Set-Cookie: x\\\"""#);
        let many = vec!["x".to_owned(); 1000];
        warn(&mut response, &many);
        assert_eq!(
            response.headers().get_all(WARNING).iter().count(),
            1 + MAX_WARNINGS
        );
    }
}
