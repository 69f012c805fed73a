//! The one place where errors become answers, and where the store's errors become API errors.

use axum::response::Response;
use coracle_api::status::ApiError;
use coracle_store::StoreError;
use http::{HeaderValue, StatusCode, header};

use crate::{answer, links::LinkError};

/// The answer to a request that failed: a metav1.Status with its HTTP code, and Retry-After where the Status says when.
#[must_use]
pub fn response(error: &ApiError) -> Response {
    let status = error.to_status();
    let retry_after = status
        .pointer("/details/retryAfterSeconds")
        .and_then(serde_json::Value::as_u64);
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer::value(code, &status);
    let headers = response.headers_mut();
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == StatusCode::UNAUTHORIZED {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"coracle\""),
        );
    }
    response
}

/// What the store said, in the API's words, for errors the caller has no better words for.
#[must_use]
pub fn from_store(error: StoreError) -> ApiError {
    match error {
        StoreError::Compacted { .. } => {
            ApiError::expired("The provided resource version is too old.", None)
        }
        StoreError::Future { current } => {
            ApiError::timeout(format!("Too large resource version, current: {current}"))
        }
        StoreError::TooLarge { limit, .. } => ApiError::too_large(limit),
        StoreError::Unavailable { reason } => ApiError::unavailable(format!("storage: {reason}")),
        // Whoever knows what the conflict is about has handled it before.
        StoreError::Conflict { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Unsupported { .. }
        | StoreError::Invalid { .. } => {
            tracing::error!(error = %error, "the store refused a request");
            ApiError::internal(error.to_string())
        }
    }
}

/// What went wrong on the way to a node, in the API's words.
#[must_use]
pub fn from_link(error: LinkError) -> ApiError {
    let message = chain(&error);
    match error.code() {
        StatusCode::GATEWAY_TIMEOUT => ApiError::timeout(message),
        _ => ApiError::unavailable(message),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
