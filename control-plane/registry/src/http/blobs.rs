//! Blobs: read whole or in part, deleted.

use std::io::SeekFrom;

use axum::{body::Body, response::Response};
use coracle_api::image::Digest;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{CONTENT_DIGEST, Call, empty, set};
use crate::error::RegistryError;

/// How much of a blob is read at once.
const PIECE: usize = 128 * 1024;

impl Call<'_> {
    pub(super) async fn blob_head(&self, digest: Digest) -> Result<Response, RegistryError> {
        let size = self.registry.blob_size(&self.name, digest).await?;
        let mut response = empty(StatusCode::OK);
        describe(response.headers_mut(), digest);
        set(
            response.headers_mut(),
            header::CONTENT_LENGTH,
            &size.to_string(),
        );
        Ok(response)
    }

    pub(super) async fn blob(&self, digest: Digest) -> Result<Response, RegistryError> {
        let blob = self.registry.blob(&self.name, digest).await?;
        let range = self
            .parts
            .headers
            .get(header::RANGE)
            .and_then(|range| range.to_str().ok());
        let (status, from, to) = match range.map(|range| byte_range(range, blob.size)) {
            None | Some(Asked::Everything) => (StatusCode::OK, 0, blob.size),
            Some(Asked::Part { from, to }) => (StatusCode::PARTIAL_CONTENT, from, to),
            Some(Asked::Nothing) => {
                let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
                set(
                    response.headers_mut(),
                    header::CONTENT_RANGE,
                    &format!("bytes */{}", blob.size),
                );
                return Ok(response);
            }
        };
        let mut file = blob.file;
        file.seek(SeekFrom::Start(from))
            .await
            .map_err(RegistryError::io("read a blob"))?;
        let stream = ReaderStream::with_capacity(file.take(to - from), PIECE);
        let mut response = Response::new(Body::from_stream(stream));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        describe(headers, digest);
        set(headers, header::CONTENT_LENGTH, &(to - from).to_string());
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {from}-{}/{}", to.saturating_sub(1), blob.size);
            set(headers, header::CONTENT_RANGE, &range);
        }
        Ok(response)
    }

    pub(super) async fn delete_blob(&self, digest: Digest) -> Result<Response, RegistryError> {
        self.registry.remove_blob(&self.name, digest).await?;
        Ok(empty(StatusCode::ACCEPTED))
    }
}

fn describe(headers: &mut HeaderMap, digest: Digest) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // What a digest names never changes.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=31536000, immutable"),
    );
    set(headers, CONTENT_DIGEST, &digest.to_string());
    set(headers, header::ETAG, &format!("\"{digest}\""));
}

/// Which bytes are asked for, `to` excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Everything,
    Part { from: u64, to: u64 },
    Nothing,
}

/// Reads a Range header (RFC 9110, 14.1.2). Several ranges, other units and what cannot be read are as good as none.
fn byte_range(range: &str, size: u64) -> Asked {
    let Some((from, to)) = range
        .strip_prefix("bytes=")
        .filter(|range| !range.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Everything;
    };
    let part = match (from.parse::<u64>().ok(), to.parse::<u64>().ok()) {
        (Some(from), Some(to)) if from <= to => Asked::Part {
            from,
            to: to.saturating_add(1).min(size),
        },
        (Some(from), None) if to.is_empty() => Asked::Part { from, to: size },
        (None, Some(last)) if from.is_empty() => Asked::Part {
            from: size.saturating_sub(last),
            to: size,
        },
        _ => return Asked::Everything,
    };
    match part {
        Asked::Part { from, to } if from >= to => Asked::Nothing,
        part => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_says() {
        let part = |from, to| Asked::Part { from, to };
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-", part(2, 10)),
            ("bytes=2-100", part(2, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-100", part(0, 10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::Everything),
            ("bytes=0-1,3-4", Asked::Everything),
            ("bytes=x-", Asked::Everything),
            ("lines=1-2", Asked::Everything),
            (
                "bytes=18446744073709551615-18446744073709551615",
                Asked::Nothing,
            ),
        ] {
            assert_eq!(byte_range(range, 10), expected, "{range}");
        }
        assert_eq!(byte_range("bytes=0-", 0), Asked::Nothing);
    }
}
