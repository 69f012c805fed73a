//! A container's log, streamed from the node that runs it. Checks what was asked for, passes on what the node says.

use axum::{body::Body, response::Response};
use coracle_api::status::ApiError;
use http::{Request, StatusCode};
use serde_json::Value;

use super::{container_of, host_of};
use crate::{error, query::Query, resources::Call};

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
    let container = container_of(&pod, call.query)?;
    check_options(call.query)?;
    let node = host_of(&pod)?;
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
    use super::*;

    #[test]
    fn numbers_that_are_none_are_refused() {
        assert!(check_options(&Query::parse(Some("tailLines=-1"))).is_err());
        assert!(check_options(&Query::parse(Some("tailLines=0&limitBytes=1"))).is_ok());
    }
}
