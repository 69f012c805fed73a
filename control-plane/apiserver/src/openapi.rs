//! Serves the OpenAPI v3 documents that coracle-api makes of the registry: an index with their hashes, and one document per group-version, each
//! made once and kept.

use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use coracle_api::{openapi, registry::Registry, status::ApiError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{answer, hash, negotiation::alternatives, query::Query};

/// The documents of a registry by their path (`api/v1`, `apis/apps/v1`).
#[derive(Debug)]
pub struct Documents {
    by_path: BTreeMap<String, Document>,
    index: Bytes,
}

#[derive(Clone, Debug)]
struct Document {
    bytes: Bytes,
    hash: String,
}

impl Documents {
    /// Makes the documents of `registry`. Takes some ten milliseconds of computing.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let mut by_path = BTreeMap::new();
        for path in openapi::documents(registry) {
            let Some(document) = openapi::document(registry, &path) else {
                continue;
            };
            let bytes = Bytes::from(document.to_string());
            let hash = hash::hex(&bytes);
            by_path.insert(path, Document { bytes, hash });
        }
        let paths: serde_json::Map<_, _> = by_path
            .iter()
            .map(|(path, document)| {
                let url = format!("/openapi/v3/{path}?hash={}", document.hash);
                (path.clone(), json!({"serverRelativeURL": url}))
            })
            .collect();
        let index = Bytes::from(json!({"paths": paths}).to_string());
        Self { by_path, index }
    }

    /// The index of documents.
    #[must_use]
    pub fn index(&self, headers: &HeaderMap) -> Response {
        send(&self.index, &hash::hex(&self.index), headers, "public")
    }

    /// A document. One asked for by an old hash is at another address now.
    ///
    /// # Errors
    /// `NotFound`, `NotAcceptable`.
    pub fn document(
        &self,
        path: &str,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        let document = self
            .by_path
            .get(path)
            .ok_or_else(ApiError::no_such_resource)?;
        if !alternatives(headers)
            .iter()
            .any(|accepted| accepted.takes_json())
        {
            return Err(ApiError::not_acceptable(&["application/json"]));
        }
        Ok(match query.text("hash") {
            Some(hash) if hash != document.hash => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                let to = format!("/openapi/v3/{path}?hash={}", document.hash);
                if let Ok(to) = HeaderValue::from_str(&to) {
                    response.headers_mut().insert(header::LOCATION, to);
                }
                response
            }
            // What has its hash in its address never changes.
            Some(_) => send(
                &document.bytes,
                &document.hash,
                headers,
                "public, immutable, max-age=31536000",
            ),
            None => send(
                &document.bytes,
                &document.hash,
                headers,
                "no-cache, private",
            ),
        })
    }
}

fn send(bytes: &Bytes, hash: &str, headers: &HeaderMap, caching: &'static str) -> Response {
    let etag = format!("\"{hash}\"");
    let has = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let mut response = if has {
        answer::typed(StatusCode::NOT_MODIFIED, Body::empty(), "application/json")
    } else {
        let mut response = answer::typed(StatusCode::OK, bytes.clone().into(), "application/json");
        response.extensions_mut().insert(crate::router::Compress);
        response
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// Shared documents.
pub type Shared = Arc<Documents>;
