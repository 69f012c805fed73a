//! Reads request bodies: bounded in size, decoded from a format that is understood. Does not know what is in them.

use axum::body::Body;
use bytes::Bytes;
use coracle_api::{
    decode::{self, Decoded, Format},
    protobuf,
    status::ApiError,
};
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::negotiation::PROTOBUF;

/// Reads a whole body.
///
/// # Errors
/// `RequestEntityTooLarge` when it is over `limit` bytes, announced or not; `BadRequest` when the client broke off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(limit);
    let announced = http_body::Body::size_hint(&body).lower();
    if announced > limit as u64 {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(error) => Err(ApiError::bad_request(format!(
            "reading the request body: {error}"
        ))),
    }
}

/// How an object in a body is written, and of which kind it is expected to be.
#[derive(Clone, Copy, Debug)]
pub struct Encoding<'a> {
    /// `None` for protobuf.
    format: Option<Format>,
    api_version: &'a str,
    kind: &'a str,
}

impl<'a> Encoding<'a> {
    /// Reads the Content-Type. Without one the body is JSON, as upstream has it.
    ///
    /// # Errors
    /// `UnsupportedMediaType`.
    pub fn of(headers: &HeaderMap, api_version: &'a str, kind: &'a str) -> Result<Self, ApiError> {
        let has_protobuf = protobuf::has(api_version, kind);
        let format = match media_type(headers).as_deref() {
            None | Some("application/json" | "*/*") => Some(Format::Json),
            Some("application/yaml" | "text/yaml" | "application/x-yaml") => Some(Format::Yaml),
            Some(PROTOBUF) if has_protobuf => None,
            Some(given) => {
                let all = ["application/json", "application/yaml", PROTOBUF];
                let known = if has_protobuf { &all[..] } else { &all[..2] };
                return Err(ApiError::unsupported_media_type(given, known));
            }
        };
        Ok(Self {
            format,
            api_version,
            kind,
        })
    }

    /// Decodes a body.
    ///
    /// # Errors
    /// `BadRequest`.
    pub fn decode(self, body: &[u8]) -> Result<Decoded, ApiError> {
        if let Some(format) = self.format {
            return decode::decode(body, format);
        }
        match protobuf::decode(body, (self.api_version, self.kind)) {
            Ok(value) => Ok(Decoded {
                value,
                duplicates: Vec::new(),
            }),
            Err(error) => Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): {error} ({})",
                self.kind,
                summary(body)
            ))),
        }
    }
}

/// The beginning of a body, for an error about it.
fn summary(body: &[u8]) -> String {
    /// As upstream.
    const SHOWN: usize = 30;
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let shown = body.iter().take(SHOWN).map(|byte| format!("{byte:02x}"));
    let mut text: String = shown.collect();
    if body.len() > SHOWN {
        text.push_str(" ...");
    }
    text
}

/// The Content-Type without parameters, in lower case.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = text.split(';').next().unwrap_or_default().trim();
    (!media_type.is_empty()).then(|| media_type.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn bodies_over_the_limit_are_refused_announced_or_not() {
        let chunked = |n: usize| {
            let chunks = (0..n).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"12345678")));
            Body::from_stream(stream::iter(chunks.collect::<Vec<_>>()))
        };
        assert_eq!(read(chunked(2), 16).await.unwrap().len(), 16);
        assert_eq!(read(chunked(3), 16).await.unwrap_err().code, 413);
        assert_eq!(
            read(Body::from("x".repeat(17)), 16).await.unwrap_err().code,
            413
        );
        let broken = stream::iter([Ok(Bytes::from("a")), Err(std::io::Error::other("gone"))]);
        assert_eq!(
            read(Body::from_stream(broken), 16).await.unwrap_err().code,
            400
        );
    }

    #[test]
    fn formats_are_told_from_the_content_type() {
        let told = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
            let encoding = Encoding::of(&headers, "v1", "Pod");
            encoding.map(|of| of.format).map_err(|error| error.code)
        };
        let none = Encoding::of(&HeaderMap::new(), "v1", "Pod").unwrap();
        assert_eq!(none.format, Some(Format::Json));
        let json = told("application/json; charset=utf-8");
        assert_eq!(json, Ok(Some(Format::Json)));
        assert_eq!(told("Application/YAML"), Ok(Some(Format::Yaml)));
        assert_eq!(told(PROTOBUF), Ok(None));
        assert_eq!(told("text/plain"), Err(415));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        let custom = Encoding::of(&headers, "example.com/v1", "Widget");
        assert_eq!(custom.unwrap_err().code, 415);
    }
}
