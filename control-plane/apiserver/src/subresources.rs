//! Subresources that are objects or actions of their own: each file is one. Which kind has which is in the registry.

mod binding;
mod commands;
mod eviction;
mod log;
mod portforward;
mod proxy;
mod scale;
mod token;

use axum::{body::Body, response::Response};
use coracle_api::status::ApiError;
use serde_json::Value;

use crate::{body, meta, path::Verb, query::Query, resources::Call};

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
        ("exec", Verb::Create) => commands::exec(call, object).await,
        ("attach", Verb::Create) => commands::attach(call, object).await,
        ("portforward", Verb::Create) => portforward::open(call, object).await,
        ("proxy", _) => proxy::pass(call, object, body).await,
        ("token", Verb::Create) => token::create(call, object, body).await,
        (
            "scale" | "binding" | "eviction" | "log" | "exec" | "attach" | "portforward" | "token",
            _,
        ) => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::no_such_resource()),
    }
}

/// The container meant: the only one, or the one named.
fn container_of(pod: &Value, query: &Query) -> Result<String, ApiError> {
    let name = meta::name(pod).unwrap_or_default();
    let names = |list: &str| -> Vec<String> {
        let containers = meta::at(pod, &["spec", list]).and_then(Value::as_array);
        containers
            .into_iter()
            .flatten()
            .filter_map(|container| Some(container.get("name")?.as_str()?.to_owned()))
            .collect()
    };
    let containers = names("containers");
    let others = [names("initContainers"), names("ephemeralContainers")].concat();
    match query.text("container") {
        Some(asked) if containers.iter().chain(&others).any(|name| name == asked) => {
            Ok(asked.to_owned())
        }
        Some(asked) => Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        ))),
        None => match containers.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {name}"
            ))),
            several => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                several.join(" ")
            ))),
        },
    }
}

/// The node that a pod runs on.
fn host_of(pod: &Value) -> Result<&str, ApiError> {
    let node = meta::text_at(pod, &["spec", "nodeName"]).filter(|node| !node.is_empty());
    node.ok_or_else(|| {
        let name = meta::name(pod).unwrap_or_default();
        ApiError::bad_request(format!("pod {name} does not have a host assigned"))
    })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_must_be_named_when_there_are_several() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        let told = |query: &str| {
            container_of(&pod, &Query::parse(Some(query))).map_err(|error| error.message)
        };
        assert_eq!(told("container=b"), Ok("b".to_owned()));
        assert_eq!(told("container=i"), Ok("i".to_owned()));
        assert_eq!(
            told("container=c"),
            Err("container c is not valid for pod p".to_owned())
        );
        assert_eq!(
            told(""),
            Err("a container name must be specified for pod p, choose one of: [a b]".to_owned())
        );
        let one = json!({"spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container_of(&one, &Query::default()), Ok("a".to_owned()));
    }
}
