//! The registry as a router: requests to the store, answers in the specification's form. [`content`] reads bodies, [`blobs`], [`uploads`] and [`manifests`]
//! are the endpoints.

mod blobs;
mod content;
mod manifests;
mod uploads;

use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State},
    response::{IntoResponse as _, Response},
    routing::any,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    error::RegistryError,
    route::{Endpoint, Place, Repository},
    store::Registry,
};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// The registry under `/v2`. Whoever mounts it decides who may make a request.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route("/v2", any(answer))
        .route("/v2/", any(answer))
        .route("/v2/{*path}", any(answer))
        .with_state(registry)
}

async fn answer(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = handle(&registry, &parts, body)
        .await
        .unwrap_or_else(|error| error.into_response());
    response
        .headers_mut()
        .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

async fn handle(registry: &Registry, parts: &Parts, body: Body) -> Result<Response, RegistryError> {
    let endpoint = Endpoint::parse(parts.uri.path())?;
    let method = &parts.method;
    if !endpoint.takes(method) {
        return Err(RegistryError::Method);
    }
    let (name, place) = match endpoint {
        Endpoint::Version => return Ok(json_answer("application/json", &json!({}))),
        Endpoint::Catalog => return catalog(registry, &parts.uri).await,
        Endpoint::In(name, place) => (name, place),
    };
    let call = Call {
        registry,
        parts,
        name,
    };
    match (place, method) {
        (Place::Blob(digest), &Method::GET) => call.blob(digest).await,
        (Place::Blob(digest), &Method::HEAD) => call.blob_head(digest).await,
        (Place::Blob(digest), _) => call.delete_blob(digest).await,
        (Place::Uploads, _) => call.begin_upload(body).await,
        (Place::Upload(id), &Method::GET) => call.upload_progress(id),
        (Place::Upload(id), &Method::PATCH) => call.add_chunk(id, body).await,
        (Place::Upload(id), &Method::PUT) => call.finish_upload(id, body).await,
        (Place::Upload(id), _) => call.cancel_upload(id).await,
        (Place::Manifest(reference), &Method::GET | &Method::HEAD) => {
            call.manifest(&reference).await
        }
        (Place::Manifest(reference), &Method::PUT) => call.put_manifest(&reference, body).await,
        (Place::Manifest(reference), _) => call.delete_manifest(&reference).await,
        (Place::Tags, _) => call.tags().await,
        (Place::Referrers(subject), _) => call.referrers(subject).await,
    }
}

/// A request in a repository.
struct Call<'a> {
    registry: &'a Registry,
    parts: &'a Parts,
    name: Repository,
}

impl Call<'_> {
    fn query<T: DeserializeOwned>(&self) -> Result<T, RegistryError> {
        query(&self.parts.uri)
    }

    /// The URL of something in the repository, from the registry's own root.
    fn location(&self, place: &str) -> String {
        format!("/v2/{}/{place}", self.name.as_str())
    }
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, RegistryError> {
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(_) => Err(RegistryError::Request("a query parameter makes no sense")),
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Deserialize)]
struct Window {
    n: Option<usize>,
    last: Option<String>,
}

async fn catalog(registry: &Registry, uri: &Uri) -> Result<Response, RegistryError> {
    let Window { n, last } = query(uri)?;
    let page = registry.repositories(n, last).await?;
    let mut response = json_answer("application/json", &json!({"repositories": page.items}));
    if let Some(next) = page.next {
        link_next(response.headers_mut(), "/v2/_catalog", n, &next);
    }
    Ok(response)
}

/// An answer in JSON.
fn json_answer(media_type: &'static str, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// An answer without a body.
fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Sets a header. What is set here is made of valid names, digests and numbers, which always fit.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// How far an upload is and where it goes on.
pub(crate) fn progress(headers: &mut HeaderMap, offset: u64, location: &str) {
    set(headers, header::LOCATION, location);
    // The last byte there is. For none Docker's registry says 0-0 too, and clients rely on a range being there.
    set(
        headers,
        header::RANGE,
        &format!("0-{}", offset.saturating_sub(1)),
    );
}

/// Where a list goes on (RFC 5988).
fn link_next(headers: &mut HeaderMap, path: &str, n: Option<usize>, last: &str) {
    let n = n.map(|n| format!("n={n}&")).unwrap_or_default();
    set(
        headers,
        header::LINK,
        &format!("<{path}?{n}last={last}>; rel=\"next\""),
    );
}

#[cfg(test)]
mod tests;
