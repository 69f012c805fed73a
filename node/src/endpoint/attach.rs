//! `kubectl attach` on the node: shows what a container's own program says from now on, and gives it what is typed, where its spec has `stdin`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use coracle_api::channels::{ERROR, STDERR, STDOUT, ended};

use super::{
    Endpoint,
    commands::{Typing, Wanted, answer},
};
use crate::{attached::Viewer, said::Said, terminal::Terminal, worker::container_of};

pub(super) async fn attach(
    State(endpoint): State<Endpoint>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let wanted = Wanted::parse(query.as_deref());
    let sandbox = match endpoint.sandbox(&namespace, &pod, wanted.uid.as_deref()) {
        Ok(sandbox) => sandbox,
        Err(refused) => return refused.into_response(),
    };
    let running = sandbox.all_running();
    let found = running
        .into_iter()
        .find(|(name, _, _)| **name == *container);
    let Some((_, _, instance)) = found else {
        let message = format!("container not found (\"{container}\")");
        return (StatusCode::NOT_FOUND, message).into_response();
    };
    let said = Arc::new(Said::default());
    let outputs = [(wanted.stdout, STDOUT), (wanted.stderr, STDERR)];
    let mut channels: Vec<u8> = outputs
        .into_iter()
        .filter_map(|(is_wanted, channel)| is_wanted.then_some(channel))
        .collect();
    let pod = sandbox.pod();
    let spec = container_of(&pod, &container);
    let is_terminal = spec.is_some_and(|spec| spec.tty == Some(true));
    if is_terminal {
        channels.retain(|channel| *channel == STDOUT);
    }
    let viewer = Viewer {
        said: Arc::clone(&said),
        channels,
    };
    if !sandbox.attached(&container).add(viewer) {
        let message = format!("too many watch container {container} already");
        return (StatusCode::TOO_MANY_REQUESTS, message).into_response();
    }
    let once = spec.is_some_and(|spec| spec.stdin_once == Some(true));
    let heard = Arc::clone(&said);
    let session = async move {
        let stdin = instance.stdin().filter(|_| wanted.stdin).cloned();
        let mut typing = Typing {
            stdin: stdin.as_deref(),
            terminal: (wanted.tty && is_terminal).then(Terminal::default),
            said: &said,
            // There are no signals: the program may read the interruption.
            is_interruptible: true,
            ends_with_client: once,
        };
        tokio::select! {
            _ = instance.wait() => {}
            () = typing.follow(body) => {}
        }
        // How the program ended is in the pod's status.
        said.end(ERROR, ended(0).to_string().as_bytes());
    };
    answer(heard, session)
}
