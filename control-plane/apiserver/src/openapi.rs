//! Serves the OpenAPI v3 documents that coracle-api makes of the registry: an index with their hashes, and one document per group-version, each
//! made once and kept. And all of them as one v2 document, made when the first old client asks.

mod protobuf;
mod v2;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use coracle_api::{openapi, registry::Registry, status::ApiError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{answer, hash, negotiation::alternatives, query::Query, version};

/// The documents of a registry by their path (`api/v1`, `apis/apps/v1`).
#[derive(Debug)]
pub struct Documents {
    by_path: BTreeMap<String, Document>,
    index: Bytes,
    v2: OnceLock<V2>,
}

/// The v2 document in its two forms.
#[derive(Debug)]
struct V2 {
    json: Document,
    protobuf: Document,
}

/// The media type of the v2 document in protobuf, in its two spellings: the old one is asked for by clients up to 1.27, and answered with the
/// new one, as their own parser of media types refuses the `@`.
const V2_PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

#[derive(Clone, Debug)]
struct Document {
    bytes: Bytes,
    hash: String,
}

impl Document {
    fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let hash = hash::hex(&bytes);
        Self { bytes, hash }
    }
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
            by_path.insert(path, Document::new(document.to_string()));
        }
        let paths: serde_json::Map<_, _> = by_path
            .iter()
            .map(|(path, document)| {
                let url = format!("/openapi/v3/{path}?hash={}", document.hash);
                (path.clone(), json!({"serverRelativeURL": url}))
            })
            .collect();
        let index = Bytes::from(json!({"paths": paths}).to_string());
        Self {
            by_path,
            index,
            v2: OnceLock::new(),
        }
    }

    /// The v2 document. Takes some ten milliseconds of computing the first time.
    ///
    /// # Errors
    /// `NotAcceptable`.
    pub fn v2(&self, headers: &HeaderMap) -> Result<Response, ApiError> {
        let made = self.v2.get_or_init(|| {
            let documents = self.by_path.values();
            let documents = documents.filter_map(|v3| serde_json::from_slice(&v3.bytes).ok());
            let documents: Vec<_> = documents.collect();
            let document = v2::document(&documents, &version::git_version());
            V2 {
                protobuf: Document::new(protobuf::encode(&document)),
                json: Document::new(document.to_string()),
            }
        });
        for accepted in alternatives(headers) {
            let protobuf = V2_PROTOBUF
                .into_iter()
                .any(|known| known == accepted.media_type);
            let (document, content_type) = match protobuf {
                true => (&made.protobuf, V2_PROTOBUF[1]),
                false if accepted.takes_json() => (&made.json, "application/json"),
                false => continue,
            };
            let (bytes, hash) = (&document.bytes, &document.hash);
            return Ok(send(
                bytes,
                hash,
                headers,
                "no-cache, private",
                content_type,
            ));
        }
        Err(ApiError::not_acceptable(&[
            "application/json",
            V2_PROTOBUF[0],
        ]))
    }

    /// The index of documents.
    #[must_use]
    pub fn index(&self, headers: &HeaderMap) -> Response {
        send(
            &self.index,
            &hash::hex(&self.index),
            headers,
            "public",
            JSON,
        )
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
                JSON,
            ),
            None => send(
                &document.bytes,
                &document.hash,
                headers,
                "no-cache, private",
                JSON,
            ),
        })
    }
}

const JSON: &str = "application/json";

fn send(
    bytes: &Bytes,
    hash: &str,
    headers: &HeaderMap,
    caching: &'static str,
    content_type: &'static str,
) -> Response {
    let etag = format!("\"{hash}\"");
    let has = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let mut response = if has {
        answer::typed(StatusCode::NOT_MODIFIED, Body::empty(), content_type)
    } else {
        let mut response = answer::typed(StatusCode::OK, bytes.clone().into(), content_type);
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
