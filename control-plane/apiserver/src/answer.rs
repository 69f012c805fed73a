//! Answers that are not errors: objects in the negotiated form, statuses, warnings.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use coracle_api::{registry::Resource, status::ApiError};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::{meta, negotiation::Media};

const WARNING: HeaderName = header::WARNING;
/// More than these warnings are cut: some clients refuse responses with very large headers. Upstream has the same bound.
const MAX_WARNINGS: usize = 64;
const MAX_WARNING_LENGTH: usize = 256;

/// An answer with a body in JSON, turned into YAML where the client wants it.
///
/// # Errors
/// `Internal` when the body is not JSON.
pub fn json(code: StatusCode, body: Bytes, media: Media) -> Result<Response, ApiError> {
    let (body, content_type) = match media {
        Media::Json => (Body::from(body), "application/json"),
        Media::Yaml => (Body::from(yaml(&body)?), "application/yaml"),
    };
    Ok(typed(code, body, content_type))
}

/// An answer with a JSON value.
#[must_use]
pub fn value(code: StatusCode, value: &Value) -> Response {
    typed(code, Body::from(value.to_string()), "application/json")
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

fn yaml(json: &[u8]) -> Result<String, ApiError> {
    let internal = |error: String| ApiError::internal(format!("encoding YAML: {error}"));
    let value: Value = serde_json::from_slice(json).map_err(|error| internal(error.to_string()))?;
    serde_saphyr::to_string(&value).map_err(|error| internal(error.to_string()))
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
