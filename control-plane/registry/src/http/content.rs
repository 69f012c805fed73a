//! Bodies of requests: read piece by piece, within a size and a time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::error::RegistryError;

/// The next bytes of a body; `None` at its end.
///
/// # Errors
/// [`RegistryError::Interrupted`] when the client is gone or takes longer than `patience`.
pub async fn next(body: &mut Body, patience: Duration) -> Result<Option<Bytes>, RegistryError> {
    loop {
        match timeout(patience, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => {
                // Trailers are of no interest.
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Ok(Some(Err(_))) | Err(_) => return Err(RegistryError::Interrupted),
        }
    }
}

/// A whole body of at most `limit` bytes.
///
/// # Errors
/// [`RegistryError::TooLarge`], [`RegistryError::Interrupted`].
pub async fn whole(
    mut body: Body,
    what: &'static str,
    limit: u64,
    patience: Duration,
) -> Result<Vec<u8>, RegistryError> {
    let mut content = Vec::new();
    while let Some(bytes) = next(&mut body, patience).await? {
        if content.len() as u64 + bytes.len() as u64 > limit {
            return Err(RegistryError::TooLarge { what, limit });
        }
        content.extend_from_slice(&bytes);
    }
    Ok(content)
}
