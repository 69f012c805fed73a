//! What a request is refused with: the error codes of OCI distribution in its JSON form.

use std::io;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use coracle_api::image::Digest;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// Why a request failed. `Io` and `Interrupted` are worth another try, the others are not.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The path is none of the specification's.
    #[error("there is no such endpoint")]
    Endpoint,
    /// The endpoint does not take the method.
    #[error("the endpoint does not take this method")]
    Method,
    /// The repository's name is none.
    #[error("invalid repository name")]
    Name,
    /// The tag or digest is none.
    #[error("invalid tag or digest {0:?}")]
    Reference(String),
    /// A parameter or header makes no sense.
    #[error("{0}")]
    Request(&'static str),
    /// Nothing was ever pushed to the repository.
    #[error("the repository is not known to the registry")]
    NameUnknown,
    /// The repository has no such blob.
    #[error("the blob is not known to the repository")]
    BlobUnknown,
    /// The repository has no such manifest or tag.
    #[error("the manifest is not known to the repository")]
    ManifestUnknown,
    /// There is no such upload, or no longer.
    #[error("the upload is not known to the registry")]
    UploadUnknown,
    /// Another request writes to the upload.
    #[error("another request writes to the upload")]
    UploadBusy,
    /// A chunk is not the one that comes next.
    #[error("the next chunk begins at {offset}")]
    OutOfOrder {
        /// How many bytes there are.
        offset: u64,
        /// Where to go on.
        location: String,
    },
    /// What came has not the length that was announced.
    #[error("the content has not the length that was announced")]
    Length,
    /// What came has another digest than was said.
    #[error("the content has the digest {0}")]
    DigestMismatch(Digest),
    /// The manifest is not one.
    #[error("{0}")]
    Manifest(String),
    /// The manifest refers to something the repository does not have.
    #[error("the manifest refers to {0}, which the repository does not have")]
    ManifestBlobUnknown(Digest),
    /// Something is larger than allowed.
    #[error("{what} must not be larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Too many uploads are under way.
    #[error("too many uploads are under way")]
    TooMany,
    /// The client did not send what it announced, or not in time.
    #[error("the content did not arrive")]
    Interrupted,
    /// The disk does not do its work.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A task of the registry's own died.
    #[error("an operation was not finished")]
    Lost,
}

impl RegistryError {
    /// Makes an [`RegistryError::Io`] of an error of the system.
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// The specification's code and the HTTP status.
    #[must_use]
    pub fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::Endpoint => ("UNSUPPORTED", StatusCode::NOT_FOUND),
            Self::Method => ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED),
            Self::Name => ("NAME_INVALID", StatusCode::BAD_REQUEST),
            Self::Reference(_) | Self::DigestMismatch(_) => {
                ("DIGEST_INVALID", StatusCode::BAD_REQUEST)
            }
            Self::Request(_) => ("UNSUPPORTED", StatusCode::BAD_REQUEST),
            Self::NameUnknown => ("NAME_UNKNOWN", StatusCode::NOT_FOUND),
            Self::BlobUnknown => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND),
            Self::UploadUnknown => ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND),
            Self::UploadBusy => ("BLOB_UPLOAD_INVALID", StatusCode::CONFLICT),
            Self::OutOfOrder { .. } => ("BLOB_UPLOAD_INVALID", StatusCode::RANGE_NOT_SATISFIABLE),
            Self::Length => ("SIZE_INVALID", StatusCode::BAD_REQUEST),
            Self::Manifest(_) => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestBlobUnknown(_) => ("MANIFEST_BLOB_UNKNOWN", StatusCode::BAD_REQUEST),
            Self::TooLarge { .. } => ("SIZE_INVALID", StatusCode::PAYLOAD_TOO_LARGE),
            Self::TooMany => ("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS),
            Self::Interrupted => ("BLOB_UPLOAD_INVALID", StatusCode::REQUEST_TIMEOUT),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ("UNKNOWN", StatusCode::INSUFFICIENT_STORAGE)
            }
            Self::Io { .. } | Self::Lost => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let (code, status) = self.code();
        if status.is_server_error() {
            let cause = std::error::Error::source(&self).map(ToString::to_string);
            tracing::error!(error = %self, cause, "the registry failed");
        }
        let body = json!({"errors": [{"code": code, "message": self.to_string()}]});
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        match &self {
            Self::OutOfOrder { offset, location } => {
                crate::http::progress(headers, *offset, location);
            }
            Self::TooMany => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}
