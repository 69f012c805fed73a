//! Tells clients what is served: groups, versions, kinds, verbs, in the three encodings clients ask for. Made from the registry alone and kept until
//! it changes.

mod aggregated;
mod legacy;
mod order;

use std::collections::BTreeMap;

use axum::response::Response;
use bytes::Bytes;
use coracle_api::{registry::Registry, status::ApiError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::{
    answer, hash,
    negotiation::{Alternative, alternatives},
};

pub use aggregated::AggregatedVersion;

/// Every discovery document of a registry, encoded.
#[derive(Debug)]
pub struct Documents {
    /// By path; the aggregated ones by path and version.
    plain: BTreeMap<String, Document>,
    aggregated: BTreeMap<(&'static str, AggregatedVersion), Document>,
}

#[derive(Clone, Debug)]
struct Document {
    bytes: Bytes,
    etag: HeaderValue,
}

impl Document {
    fn new(value: &Value) -> Result<Self, ApiError> {
        let bytes = Bytes::from(value.to_string());
        let etag = HeaderValue::from_str(&format!("\"{}\"", hash::hex(&bytes)))
            .map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(Self { bytes, etag })
    }
}

impl Documents {
    /// Makes the documents of `registry`.
    ///
    /// # Errors
    /// Never in practice: `Internal` when a hash is no header value.
    pub fn new(registry: &Registry) -> Result<Self, ApiError> {
        let groups = order::groups(registry);
        let mut plain = BTreeMap::new();
        for (path, value) in legacy::documents(&groups) {
            plain.insert(path, Document::new(&value)?);
        }
        let mut aggregated = BTreeMap::new();
        for version in [AggregatedVersion::V2, AggregatedVersion::V2beta1] {
            for (path, core) in [("/api", true), ("/apis", false)] {
                let of_path = groups.iter().filter(|group| group.name.is_empty() == core);
                let value = aggregated::document(of_path, version);
                aggregated.insert((path, version), Document::new(&value)?);
            }
        }
        Ok(Self { plain, aggregated })
    }

    /// Answers a request for a discovery path.
    ///
    /// # Errors
    /// `NotFound` for a group or version that is not served, `NotAcceptable`.
    pub fn answer(&self, path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
        let path = path.trim_end_matches('/');
        if !self.plain.contains_key(path) {
            return Err(ApiError::no_such_resource());
        }
        for alternative in alternatives(headers) {
            if !alternative.takes_json() {
                continue;
            }
            match alternative.parameter("as") {
                None => return self.plain(path, headers),
                Some("APIGroupDiscoveryList") => {
                    if let Some(found) = self.aggregated(path, &alternative) {
                        let (version, document) = found;
                        return Ok(send(document, version.content_type(), headers));
                    }
                }
                Some(_) => {}
            }
        }
        Err(ApiError::not_acceptable(&["application/json"]))
    }

    fn aggregated(
        &self,
        path: &str,
        alternative: &Alternative<'_>,
    ) -> Option<(AggregatedVersion, &Document)> {
        if alternative.parameter("g") != Some("apidiscovery.k8s.io") {
            return None;
        }
        let version = AggregatedVersion::parse(alternative.parameter("v")?)?;
        let path = ["/api", "/apis"].into_iter().find(|known| *known == path)?;
        Some((version, self.aggregated.get(&(path, version))?))
    }

    fn plain(&self, path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
        let document = self
            .plain
            .get(path)
            .ok_or_else(ApiError::no_such_resource)?;
        Ok(send(document, "application/json", headers))
    }
}

/// The document, or 304 when the client has it.
fn send(document: &Document, content_type: &'static str, headers: &HeaderMap) -> Response {
    let has = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|tag| *tag == document.etag);
    let mut response = if has {
        answer::typed(
            StatusCode::NOT_MODIFIED,
            axum::body::Body::empty(),
            content_type,
        )
    } else {
        answer::typed(StatusCode::OK, document.bytes.clone().into(), content_type)
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, document.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}
