//! Reads request bodies: bounded in size, in a format that is understood. Does not know what is in them.

use axum::body::Body;
use bytes::Bytes;
use coracle_api::{decode::Format, status::ApiError};
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

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

/// The format of an object in a body. Without a Content-Type it is JSON, as upstream has it.
///
/// # Errors
/// `UnsupportedMediaType`.
pub fn format(headers: &HeaderMap) -> Result<Format, ApiError> {
    match media_type(headers).as_deref() {
        None | Some("application/json" | "*/*") => Ok(Format::Json),
        Some("application/yaml" | "text/yaml" | "application/x-yaml") => Ok(Format::Yaml),
        Some(given) => Err(ApiError::unsupported_media_type(
            given,
            &["application/json", "application/yaml"],
        )),
    }
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
            format(&headers).map_err(|error| error.code)
        };
        assert_eq!(format(&HeaderMap::new()).unwrap(), Format::Json);
        assert_eq!(told("application/json; charset=utf-8"), Ok(Format::Json));
        assert_eq!(told("Application/YAML"), Ok(Format::Yaml));
        assert_eq!(told("application/vnd.kubernetes.protobuf"), Err(415));
        assert_eq!(told("text/plain"), Err(415));
    }
}
