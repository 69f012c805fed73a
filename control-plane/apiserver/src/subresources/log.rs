//! A container's log, streamed from the node that runs it. Checks what was asked for, passes on what the node says.

use axum::{body::Body, response::Response};
use coracle_api::status::ApiError;
use http::{Request, StatusCode};
use serde_json::Value;

use crate::{error, meta, query::Query, resources::Call};

/// The options of a log request that nodes understand.
const OPTIONS: [&str; 8] = [
    "follow",
    "previous",
    "tailLines",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "limitBytes",
    "stream",
];

pub(super) async fn get(call: &Call<'_>, name: &str) -> Result<Response, ApiError> {
    let pod = call.read(name).await?.value()?;
    let container = container(&pod, call.query)?;
    check_options(call.query)?;
    let Some(node) = meta::text_at(&pod, &["spec", "nodeName"]).filter(|node| !node.is_empty())
    else {
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    };
    let namespace = call.namespace().unwrap_or_default();
    // Names in paths are DNS labels and subdomains: nothing to escape.
    let uri = format!(
        "/containerLogs/{namespace}/{name}/{container}?{}",
        options(call.query)
    );
    let request = Request::get(uri)
        .body(Body::empty())
        .map_err(|error| ApiError::internal(format!("asking node {node} for a log: {error}")))?;
    let permit = call.server.gate.open_stream(&call.user.name)?;
    let answer = call
        .server
        .nodes
        .call(node, request)
        .await
        .map_err(error::from_link)?;
    let (mut parts, body) = answer.into_parts();
    if parts.status != StatusCode::OK {
        return Err(refused(call, node, parts.status, body).await);
    }
    // What concerns the connection to the node only.
    for header in [
        "connection",
        "transfer-encoding",
        "keep-alive",
        "content-length",
    ] {
        parts.headers.remove(header);
    }
    let body = Body::new(http_body_util::BodyExt::map_frame(body, move |frame| {
        let _held = &permit;
        frame
    }));
    let guarded = call.server.streams.guard(body, call.cut_off());
    Ok(Response::from_parts(parts, guarded))
}

/// The container meant: the only one, or the one named.
fn container(pod: &Value, query: &Query) -> Result<String, ApiError> {
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

/// The options of the request for the node.
fn options(query: &Query) -> String {
    let mut options = form_urlencoded::Serializer::new(String::new());
    for option in OPTIONS {
        if let Some(value) = query.text(option) {
            options.append_pair(option, value);
        }
    }
    options.finish()
}

/// Refuses numbers that are none before a node is bothered.
fn check_options(query: &Query) -> Result<(), ApiError> {
    for (option, least) in [("tailLines", 0_i64), ("sinceSeconds", 1), ("limitBytes", 1)] {
        if query.number::<i64>(option)?.is_some_and(|n| n < least) {
            return Err(ApiError::bad_request(format!(
                "{option}: must be greater than or equal to {least}"
            )));
        }
    }
    Ok(())
}

/// A node's refusal in the API's form. Nodes answer with a Status or a line of text.
async fn refused(call: &Call<'_>, node: &str, code: StatusCode, body: Body) -> ApiError {
    let text = match call.body(body).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return error,
    };
    let message = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|status| Some(status.get("message")?.as_str()?.to_owned()))
        .unwrap_or(text);
    match code {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => ApiError::bad_request(message),
        _ => ApiError::internal(format!("node {node} answered {code}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_must_be_named_when_there_are_several() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        let told = |query: &str| {
            container(&pod, &Query::parse(Some(query))).map_err(|error| error.message)
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
        assert_eq!(container(&one, &Query::default()), Ok("a".to_owned()));
        assert!(check_options(&Query::parse(Some("tailLines=-1"))).is_err());
        assert!(check_options(&Query::parse(Some("tailLines=0&limitBytes=1"))).is_ok());
    }
}
