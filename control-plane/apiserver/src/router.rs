//! The routes, and the gate every request passes: who asks, what for, may they, is there room, how long may it take, what was it.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{any_service, get},
};
use coracle_api::status::ApiError;
use futures::FutureExt as _;
use http::{HeaderMap, StatusCode, Version};
use tokio::time::{Instant, timeout};
use tower_http::compression::{CompressionLayer, CompressionLevel, predicate::Predicate};
use tracing::Instrument as _;

use crate::{
    answer,
    auth::{impersonation, service_account, user::UserInfo},
    authorization, backup, error,
    links::upgrade,
    metrics::Labels,
    negotiation,
    path::{RequestInfo, Verb},
    query::Query,
    resources,
    server::Shared,
    streams::CutOff,
    version,
};

/// Marks a response whose body is worth compressing.
#[derive(Clone, Copy, Debug)]
pub struct Compress;

/// Subresources whose requests last as long as their clients want.
const STREAMS: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

/// All routes, behind the gate.
pub fn router(server: &Arc<Shared>, images: Router) -> Router {
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(marked());
    Router::new()
        .route("/version", get(version))
        .route("/healthz", get(health))
        .route("/healthz/{check}", get(health))
        .route("/livez", get(health))
        .route("/livez/{check}", get(health))
        .route("/readyz", get(health))
        .route("/readyz/{check}", get(health))
        .route("/metrics", get(metrics))
        .route(backup::PATH, get(back_up))
        .route("/openapi/v2", get(openapi_v2))
        .route("/openapi/v3", get(openapi_index))
        .route("/openapi/v3/{*document}", get(openapi_document))
        .method_not_allowed_fallback(method_not_allowed)
        .route("/v2", any_service(images.clone()))
        .route("/v2/", any_service(images.clone()))
        .route("/v2/{*image}", any_service(images))
        .merge(upgrade::routes(server.nodes.clone()))
        .fallback(resource)
        .layer(compression)
        .layer(middleware::from_fn_with_state(Arc::clone(server), gate))
        .with_state(Arc::clone(server))
}

/// Compresses what is marked: everything else is small, a stream, or compressed already.
fn marked() -> impl Predicate {
    |_: StatusCode, _: Version, _: &HeaderMap, extensions: &http::Extensions| {
        extensions.get::<Compress>().is_some()
    }
}

/// A request past the gate carries this.
#[derive(Clone)]
struct Passed {
    info: Arc<RequestInfo>,
    query: Arc<Query>,
    user: Arc<UserInfo>,
}

async fn gate(State(server): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let query = Query::parse(request.uri().query());
    let user = request.extensions().get::<UserInfo>().cloned();
    let prefers_protobuf = negotiation::prefers_protobuf(request.headers());
    let info = RequestInfo::parse(request.method(), request.uri().path(), &query);
    let labels = Labels {
        verb: info.as_ref().map_or(Verb::Other, |info| info.verb).as_str(),
        resource: info
            .as_ref()
            .map_or("-".to_owned(), |info| known(&server, info)),
        subresource: info.as_ref().map_or("-", subresource_label),
        code: 0,
    };
    let span = tracing::debug_span!(
        "http",
        method = %request.method(),
        path = request.uri().path(),
        verb = labels.verb,
        resource = labels.resource,
        user = user.as_ref().map(|user| user.name.as_str()),
    );
    server.metrics.in_flight.inc();
    let passed = pass(&server, user, info, query, request, next).instrument(span.clone());
    let response = match AssertUnwindSafe(passed).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(refused)) => {
            span.in_scope(|| {
                tracing::debug!(code = refused.code, why = refused.message, "refused")
            });
            error::response(&refused)
        }
        Err(_) => {
            span.in_scope(|| tracing::error!("a handler panicked"));
            error::response(&ApiError::internal(
                "This request caused apiserver to panic. Look in the logs for details.",
            ))
        }
    };
    server.metrics.in_flight.dec();
    let response = answer::in_preferred_form(response, prefers_protobuf);
    let code = response.status().as_u16();
    server
        .metrics
        .answered(Labels { code, ..labels }, began.elapsed());
    response
}

/// Lets a request through that may be answered.
async fn pass(
    server: &Arc<Shared>,
    user: Option<UserInfo>,
    info: Result<RequestInfo, ApiError>,
    query: Query,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let user = user.ok_or_else(ApiError::unauthorized)?;
    let info = info?;
    // The room is that of who really asks.
    let _permit = server.gate.enter(&user.name).await?;
    service_account::still_there(server, &user).await?;
    let user = impersonation::effective(&server.authorizer, user, request.headers_mut())?;
    request.extensions_mut().insert(user.clone());
    authorization::authorize(server, &user, &info, &query)?;
    let lasting = lasts(&info);
    request.extensions_mut().insert(Passed {
        info: Arc::new(info),
        query: Arc::new(query),
        user: Arc::new(user),
    });
    let answer = next.run(request);
    if lasting {
        return Ok(answer.await);
    }
    timeout(server.gate.limits().request_time, answer)
        .await
        .map_err(|_| {
            ApiError::timeout(
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            )
        })
}

/// Whether a request may take longer than the time for requests: streams, and images and backups, which are as large as they are.
fn lasts(info: &RequestInfo) -> bool {
    match &info.resource {
        None => info.path == backup::PATH || info.path == "/v2" || info.path.starts_with("/v2/"),
        Some(resource) => {
            resource.resource == "links"
                || resource
                    .subresource
                    .as_deref()
                    .is_some_and(|name| STREAMS.contains(&name))
        }
    }
}

/// The kind as a label: only what is served, so that clients cannot make series.
fn known(server: &Shared, info: &RequestInfo) -> String {
    let registry = server.registry();
    let served = info
        .resource
        .as_ref()
        .and_then(|path| registry.get(&path.group, &path.version, &path.resource));
    match served {
        Some(resource) if resource.group.is_empty() => resource.plural.to_string(),
        Some(resource) => format!("{}/{}", resource.group, resource.plural),
        None => "-".to_owned(),
    }
}

fn subresource_label(info: &RequestInfo) -> &'static str {
    const KNOWN: [&str; 11] = [
        "status",
        "scale",
        "binding",
        "eviction",
        "log",
        "finalize",
        "exec",
        "attach",
        "portforward",
        "proxy",
        "token",
    ];
    let name = info
        .resource
        .as_ref()
        .and_then(|path| path.subresource.as_deref());
    match name {
        None => "-",
        Some(name) => KNOWN
            .into_iter()
            .find(|known| *known == name)
            .unwrap_or("other"),
    }
}

/// Resources, discovery, and everything that does not exist.
async fn resource(State(server): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(passed) = parts.extensions.get::<Passed>().cloned() else {
        return error::response(&ApiError::internal("a request came past the gate"));
    };
    let answer = if passed.info.resource.is_some() {
        let Passed { info, query, user } = &passed;
        resources::handle(&server, user, info, query, &parts, body).await
    } else if passed.info.verb == Verb::Get {
        discover(&server, &passed.info.path, &parts.headers)
    } else {
        Err(ApiError::no_such_resource())
    };
    answer.unwrap_or_else(|error| error::response(&error))
}

fn discover(server: &Shared, path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    server.discovery()?.answer(path, headers)
}

async fn method_not_allowed() -> Response {
    error::response(&ApiError::method_not_allowed())
}

async fn version() -> Response {
    answer::value(StatusCode::OK, &version::document())
}

/// Health: `ok`, or each check with its result when asked verbosely.
async fn health(State(server): State<Arc<Shared>>, request: Request) -> Response {
    // Whatever answers is alive; a store that cannot be read makes the server useless.
    let ready = server.store.get("/health").await;
    let query = Query::parse(request.uri().query());
    let path = request.uri().path();
    let kind = path.split('/').nth(1).unwrap_or_default();
    let check = path.split('/').nth(2);
    if check.is_some_and(|check| !["ping", "store"].contains(&check)) {
        return error::response(&ApiError::no_such_resource());
    }
    let failed = matches!(&ready, Err(error) if kind != "livez" && check != Some("ping") && {
        tracing::warn!(error = %error, "the store is not ready");
        true
    });
    let code = if failed {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    let text = if failed || query.get("verbose").is_some() {
        let store = if failed {
            "[-]store failed: reason withheld"
        } else {
            "[+]store ok"
        };
        let end = if failed { "failed" } else { "passed" };
        format!("[+]ping ok\n{store}\n{kind} check {end}\n")
    } else {
        "ok".to_owned()
    };
    answer::typed(code, Body::from(text), "text/plain; charset=utf-8")
}

async fn metrics(State(server): State<Arc<Shared>>) -> Response {
    server
        .metrics
        .streams
        .set(i64::try_from(server.streams.len()).unwrap_or(i64::MAX));
    match server.metrics.encode() {
        Ok(text) => answer::typed(
            StatusCode::OK,
            Body::from(text),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        Err(error) => error::response(&error),
    }
}

async fn back_up(State(server): State<Arc<Shared>>, request: Request) -> Response {
    let cut_off = request.extensions().get::<CutOff>().cloned();
    let answer = backup::answer(&server, cut_off).await;
    answer.unwrap_or_else(|error| error::response(&error))
}

async fn openapi_index(State(server): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match server.openapi().await {
        Ok(documents) => documents.index(&headers),
        Err(error) => error::response(&error),
    }
}

async fn openapi_v2(State(server): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let answer = match server.openapi().await {
        Ok(documents) => {
            let made = tokio::task::spawn_blocking(move || documents.v2(&headers)).await;
            let failed = |error| Err(ApiError::internal(format!("making OpenAPI v2: {error}")));
            made.unwrap_or_else(failed)
        }
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| error::response(&error))
}

async fn openapi_document(State(server): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches("/openapi/v3/");
    let query = Query::parse(request.uri().query());
    let answer = match server.openapi().await {
        Ok(documents) => documents.document(path, &query, request.headers()),
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| error::response(&error))
}
