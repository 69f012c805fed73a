//! `kubectl exec` on the node: runs a command in a container and carries its standard streams as frames ([`coracle_api::channels`]), the request's body to it
//! and the answer's from it. The command ends with the answer, and the other way round.

use std::{pin::Pin, sync::Arc, task::Poll};

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use coracle_api::channels::{CLOSE, Decoder, ERROR, STDERR, STDIN, STDOUT, failed};
use coracle_runtime::{Exit, LogSink, Stdin};
use futures::{Stream, StreamExt as _};
use tokio_util::task::AbortOnDropHandle;

use super::Endpoint;
use crate::{
    commands::{self, INTERRUPTED, Streams},
    said::Said,
    terminal::Terminal,
};

/// What interrupts the toolbox when it comes in its input (ETX, ^C).
const INTERRUPT: &[u8] = &[0x03];
/// Echoes that wait to be heard before what is typed has to wait too.
const ECHO_BYTES: usize = 64 << 10;

/// What a client wants of a container.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) uid: Option<String>,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
    pub(super) command: Vec<String>,
}

impl Wanted {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let mut wanted = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let is_true = value == "true";
            match &*name {
                "uid" => wanted.uid = Some(value.into_owned()),
                "stdin" => wanted.stdin = is_true,
                "stdout" => wanted.stdout = is_true,
                "stderr" => wanted.stderr = is_true,
                "tty" => wanted.tty = is_true,
                "command" => wanted.command.push(value.into_owned()),
                _ => {}
            }
        }
        wanted
    }
}

pub(super) async fn exec(
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
    if running.iter().all(|(name, _, _)| **name != *container) {
        let message = format!("container not found (\"{container}\")");
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let said = Arc::new(Said::default());
    let heard = Arc::clone(&said);
    let session = async move {
        let stdin = wanted.stdin.then(|| Stdin::new(wanted.tty));
        let stream = |is_wanted: bool, channel| -> Arc<dyn LogSink> {
            if is_wanted {
                said.stream(channel, wanted.tty)
            } else {
                Arc::new(Nobody)
            }
        };
        let streams = Streams {
            stdin: stdin.clone(),
            stdout: stream(wanted.stdout, STDOUT),
            // A terminal has one output.
            stderr: if wanted.tty {
                stream(wanted.stdout, STDOUT)
            } else {
                stream(wanted.stderr, STDERR)
            },
            is_terminal: wanted.tty,
        };
        let pod = sandbox.pod();
        let parts = &endpoint.parts;
        let words = &wanted.command;
        let started = commands::start(parts, &sandbox, &pod, &container, words, streams).await;
        let running = match started {
            Ok(running) => running,
            Err(why) => {
                let message = format!("error executing command in container: {why}");
                said.end(ERROR, failed(&message).to_string().as_bytes());
                return;
            }
        };
        let mut typing = Typing {
            stdin: stdin.as_deref(),
            terminal: wanted.tty.then(Terminal::default),
            said: &said,
            is_interruptible: running.is_toolbox,
            ends_with_client: true,
        };
        let exit = tokio::select! {
            exit = running.process.wait() => exit,
            () = typing.follow(body) => Exit::Completed(INTERRUPTED),
        };
        let channel = if wanted.tty { STDOUT } else { STDERR };
        commands::tell_end(&said, channel, &exit);
    };
    answer(heard, session)
}

/// An answer of what is said in a session, which ends with it.
pub(super) fn answer(
    said: Arc<Said>,
    session: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let session = AbortOnDropHandle::new(tokio::spawn(session));
    let heard = Heard {
        said,
        _session: session,
    };
    Body::from_stream(heard.map(Ok::<_, std::convert::Infallible>)).into_response()
}

/// What is said; whoever drops it ends the session.
struct Heard {
    said: Arc<Said>,
    _session: AbortOnDropHandle<()>,
}

impl Stream for Heard {
    type Item = Bytes;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Bytes>> {
        self.said.poll_next(context)
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.said.leave();
    }
}

/// Takes what a client types.
pub(super) struct Typing<'a> {
    pub(super) stdin: Option<&'a Stdin>,
    pub(super) terminal: Option<Terminal>,
    pub(super) said: &'a Said,
    /// The program takes interruptions from its input.
    pub(super) is_interruptible: bool,
    /// The input ends when the client goes, even without a word.
    pub(super) ends_with_client: bool,
}

impl Typing<'_> {
    /// Takes what comes until the client interrupts what runs. What the client sends badly, or its end, is the end of the input.
    pub(super) async fn follow(&mut self, body: Body) {
        let mut body = body.into_data_stream();
        let mut decoder = Decoder::default();
        while let Some(Ok(bytes)) = body.next().await {
            decoder.feed(&bytes);
            while let Ok(Some((channel, bytes))) = decoder.next_frame() {
                let bytes = Bytes::copy_from_slice(bytes);
                if self.take(channel, bytes).await {
                    return;
                }
            }
        }
        if let Some(stdin) = self.stdin.filter(|_| self.ends_with_client) {
            stdin.end();
        }
        std::future::pending().await
    }

    /// Takes a frame. Says whether what runs is to be ended.
    async fn take(&mut self, channel: u8, bytes: Bytes) -> bool {
        let Some(stdin) = self.stdin else {
            return false;
        };
        match (channel, &mut self.terminal) {
            (STDIN, None) => stdin.write(bytes).await,
            (STDIN, Some(terminal)) => {
                let typed = terminal.type_in(&bytes);
                // Whoever types without looking is not echoed to without bound.
                if self.said.unheard() < ECHO_BYTES {
                    self.said.say(STDOUT, &typed.echo);
                }
                if typed.interrupts {
                    if !self.is_interruptible {
                        return true;
                    }
                    stdin.write(Bytes::from_static(INTERRUPT)).await;
                }
                stdin.write(typed.input.into()).await;
                if typed.ends {
                    // Whoever is to read on would have to be told that there was an end.
                    stdin.end();
                }
            }
            (CLOSE, _) if self.ends_with_client && bytes.first() == Some(&STDIN) => stdin.end(),
            // WASI has no way to tell a program how large its terminal is.
            _ => {}
        }
        false
    }
}

/// Where a stream goes that nobody wants.
pub(super) struct Nobody;

impl LogSink for Nobody {
    fn poll_ready(&self, _context: &mut std::task::Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn write(&self, _bytes: Bytes) {}
}
