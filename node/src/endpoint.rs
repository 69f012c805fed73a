//! The node's own HTTP endpoint, which the API server reaches over the node's link: container logs, streams into pods, usage, health. It listens nowhere;
//! whoever attaches it vouches for who asks.

mod attach;
mod commands;
mod port_forward;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use coracle_lifecycle::RunId;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{
    logs::{
        Logs,
        line::Stream,
        read::{Options, Reader},
    },
    parts::Parts,
    pods::Pods,
    sandbox::{Sandbox, View},
    usage::UsageMeter,
    worker::log_id,
};

/// What the endpoint answers from.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) pods: Arc<Pods>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) usage: Arc<UsageMeter>,
    pub(crate) parts: Arc<Parts>,
}

impl Endpoint {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route(
                "/containerLogs/{namespace}/{pod}/{container}",
                get(container_logs),
            )
            .route(
                "/attach/{namespace}/{pod}/{container}",
                post(attach::attach),
            )
            .route("/exec/{namespace}/{pod}/{container}", post(commands::exec))
            .route(
                "/portForward/{namespace}/{pod}/{port}",
                post(port_forward::open),
            )
            .route("/stats", get(stats))
            .route("/healthz", get(|| async { "ok" }))
            .with_state(self)
    }

    /// The pod of a name, if it is the one meant.
    fn sandbox(
        &self,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
    ) -> Result<Arc<Sandbox>, (StatusCode, String)> {
        let found = self.pods.find(namespace, pod);
        let found = found.filter(|found| uid.is_none_or(|uid| uid == found.uid));
        found.ok_or_else(|| {
            let message = format!("pod \"{pod}\" not found on this node");
            (StatusCode::NOT_FOUND, message)
        })
    }
}

/// The parameters of `PodLogOptions` that reach a node.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogQuery {
    follow: bool,
    previous: bool,
    tail_lines: Option<u64>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    timestamps: bool,
    limit_bytes: Option<u64>,
    stream: Option<String>,
}

impl LogQuery {
    fn options(&self, now: Timestamp) -> Result<Options, String> {
        let ago = self.since_seconds.map(|seconds| {
            now.checked_sub(SignedDuration::from_secs(seconds))
                .unwrap_or(Timestamp::MIN)
        });
        let source = match self.stream.as_deref() {
            None | Some("All") => None,
            Some("Stdout") => Some(Stream::Stdout),
            Some("Stderr") => Some(Stream::Stderr),
            Some(other) => return Err(format!("{other:?} is no stream of a container")),
        };
        Ok(Options {
            follow: self.follow,
            tail_lines: self.tail_lines,
            since: self.since_time.or(ago),
            timestamps: self.timestamps,
            limit_bytes: self.limit_bytes,
            source,
        })
    }
}

async fn stats(State(endpoint): State<Endpoint>) -> Response {
    Json(endpoint.usage.now()).into_response()
}

async fn container_logs(
    State(endpoint): State<Endpoint>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<LogQuery>,
) -> Response {
    let refuse = |code: StatusCode, message: String| (code, message).into_response();
    let options = match query.options(Timestamp::now()) {
        Ok(options) => options,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message),
    };
    let sandbox = match endpoint.sandbox(&namespace, &pod, None) {
        Ok(sandbox) => sandbox,
        Err((code, message)) => return refuse(code, message),
    };
    let run = match run_of(&sandbox, &endpoint.logs, &container, query.previous) {
        Ok(run) => run,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message),
    };
    let id = log_id(&sandbox.log_directory, &run);
    let logs = Arc::clone(&endpoint.logs);
    let opened = tokio::task::spawn_blocking(move || {
        let live = logs.of(&id);
        Reader::open(&logs.path(&id), live.as_ref(), options)
    });
    match opened.await {
        Ok(Ok(reader)) => {
            let headers = [("content-type", "text/plain")];
            (headers, Body::from_stream(reader.into_stream())).into_response()
        }
        Ok(Err(error)) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("read the log of {container}: {error}"),
        ),
        Err(error) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("reading the log of {container} failed: {error}"),
        ),
    }
}

/// The run whose log is asked for: the one that runs or ran last, or the one before.
fn run_of(
    sandbox: &Sandbox,
    logs: &Logs,
    container: &str,
    previous: bool,
) -> Result<RunId, String> {
    let view = sandbox.view();
    let (name, (number, is_live)) = view.runs.get_key_value(container).ok_or_else(|| {
        format!(
            "container {container} is not valid for pod {}",
            sandbox.name
        )
    })?;
    let run = |number| RunId {
        container: Arc::clone(name),
        number,
    };
    let has_log = |number| {
        let id = log_id(&sandbox.log_directory, &run(number));
        logs.of(&id).is_some() || logs.path(&id).exists()
    };
    // Between two runs the number is that of the next.
    let latest = if *is_live || has_log(*number) {
        Some(*number)
    } else {
        number.checked_sub(1)
    };
    match (latest, previous) {
        (Some(latest), false) => Ok(run(latest)),
        (Some(latest), true) if latest > 0 => Ok(run(latest - 1)),
        (_, true) => Err(format!(
            "previous terminated container \"{container}\" in pod \"{}\" not found",
            sandbox.name
        )),
        (None, false) => match waiting(&view, container) {
            Some(reason) => Err(format!(
                "container \"{container}\" in pod \"{}\" is waiting to start: {reason}",
                sandbox.name
            )),
            // It ended without ever having had an instance, or has written nothing yet.
            None => Ok(run(*number)),
        },
    }
}

/// Why a container waits, if it does.
fn waiting(view: &View, container: &str) -> Option<String> {
    let lists = [
        &view.status.init_container_statuses,
        &view.status.container_statuses,
        &view.status.ephemeral_container_statuses,
    ];
    let mut all = lists.into_iter().flatten().flatten();
    let of = all.find(|one| one.name == container)?;
    let waiting = of.state.as_ref()?.waiting.as_ref()?;
    Some(waiting.reason.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_options() {
        let now = Timestamp::from_second(1000).unwrap();
        let query: LogQuery = serde_json::from_value(serde_json::json!({
            "follow": true, "tailLines": 5, "sinceSeconds": 60, "timestamps": true, "limitBytes": 9, "stream": "Stderr"
        }))
        .unwrap();
        let options = query.options(now).unwrap();
        assert_eq!(options.since, Some(Timestamp::from_second(940).unwrap()));
        assert_eq!(options.source, Some(Stream::Stderr));
        assert!(options.follow && options.timestamps);
        assert_eq!(
            (options.tail_lines, options.limit_bytes),
            (Some(5), Some(9))
        );
        let odd = LogQuery {
            stream: Some("other".to_owned()),
            ..LogQuery::default()
        };
        assert!(odd.options(now).is_err());
    }
}
