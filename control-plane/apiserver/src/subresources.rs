//! Subresources that are objects or actions of their own: each file is one. Which kind has which is in the registry.

mod binding;
mod eviction;
mod log;
mod scale;
mod token;

use axum::{body::Body, response::Response};
use coracle_api::status::ApiError;
use serde_json::Value;

use crate::{body, path::Verb, resources::Call};

/// Answers a request for the subresource `name` of an object.
///
/// # Errors
/// Whatever is wrong with the request.
pub async fn handle(call: &Call<'_>, name: &str, body: Body) -> Result<Response, ApiError> {
    let object = call
        .path
        .name
        .as_deref()
        .ok_or_else(ApiError::no_such_resource)?;
    match (name, call.verb) {
        ("scale", Verb::Get) => scale::get(call, object).await,
        ("scale", Verb::Update | Verb::Patch) => scale::change(call, object, body).await,
        ("binding", Verb::Create) => binding::create(call, object, body).await,
        ("eviction", Verb::Create) => eviction::create(call, object, body).await,
        ("log", Verb::Get) => log::get(call, object).await,
        ("token", Verb::Create) => token::create(call, object, body).await,
        ("scale" | "binding" | "eviction" | "log" | "token", _) => {
            Err(ApiError::method_not_allowed())
        }
        _ => Err(ApiError::no_such_resource()),
    }
}

/// Reads a body that is an object of `kind` of `api_version` (as far as it says).
async fn read_object(
    call: &Call<'_>,
    body: Body,
    api_version: &str,
    kind: &str,
) -> Result<Value, ApiError> {
    let encoding = body::Encoding::of(call.headers(), api_version, kind)?;
    let bytes = call.body(body).await?;
    let object = encoding.decode(&bytes)?.value;
    let says = |key: &str, expected: &str| {
        object
            .get(key)
            .and_then(Value::as_str)
            .is_none_or(|text| text.is_empty() || text == expected)
    };
    if !object.is_object() || !says("apiVersion", api_version) || !says("kind", kind) {
        return Err(ApiError::bad_request(format!(
            "the body cannot be handled as a {kind} of {api_version}"
        )));
    }
    Ok(object)
}
