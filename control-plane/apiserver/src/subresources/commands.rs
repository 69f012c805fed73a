//! `kubectl exec` and `attach`: a command in a container, or the container's own program, with its standard streams carried to the client over a WebSocket's
//! channels or SPDY. What the client says and hears is in [`coracle_api::channels`]; the node does the rest.

mod channels;
mod streams;

use axum::response::Response;
use coracle_api::status::{ApiError, Reason};
use form_urlencoded::Serializer;
use http::StatusCode;
use serde_json::Value;

use super::{container_of, host_of};
use crate::{
    error,
    links::duplex::OpenError,
    meta,
    query::Query,
    resources::Call,
    upgrades::{Offer, Session},
};

/// What a client and this server can say to each other over a WebSocket, best first.
const CHANNELS: [&str; 3] = ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"];
/// The same over SPDY.
const STREAMS: [&str; 1] = ["v4.channel.k8s.io"];
/// The longest command line: all of it is in the path of one request.
const COMMAND_BYTES: usize = 32 << 10;

/// Runs a command in a container.
pub(super) async fn exec(call: &Call<'_>, name: &str) -> Result<Response, ApiError> {
    open(call, name, "exec").await
}

/// Watches a container's own program.
pub(super) async fn attach(call: &Call<'_>, name: &str) -> Result<Response, ApiError> {
    open(call, name, "attach").await
}

async fn open(call: &Call<'_>, name: &str, what: &str) -> Result<Response, ApiError> {
    let pod = call.read(name).await?.value()?;
    let container = container_of(&pod, call.query)?;
    let wanted = Wanted::of(call.query);
    let command: Vec<&str> = call.query.all("command").collect();
    if what == "exec" {
        wanted.check(&command)?;
    } else if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err(ApiError::bad_request(
            "you must specify at least one of stdin, stdout, stderr",
        ));
    }
    let node = host_of(&pod)?;
    let phase = meta::text_at(&pod, &["status", "phase"]).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(ApiError::bad_request(format!(
            "cannot {what} in a container of a completed pod; current phase is {phase}"
        )));
    }
    let offer = Offer::of(call.headers())?;
    let protocol = match &offer {
        Offer::WebSocket { .. } => offer.choose(&CHANNELS)?,
        Offer::Spdy { .. } => offer.choose(&STREAMS)?,
    };
    let session = Session::of(call)?;
    let namespace = call.namespace().unwrap_or_default();
    let query = wanted.query(meta::uid(&pod).unwrap_or_default(), &command);
    // Names in paths are DNS labels and subdomains: nothing to escape.
    let uri = format!("/{what}/{namespace}/{name}/{container}?{query}");
    let node = call.server.nodes.open(node, &uri).await.map_err(refusal)?;
    let about = format!("{what} in {namespace}/{name}/{container}");
    match &offer {
        Offer::WebSocket { .. } => {
            let dialect = channels::Dialect::of(protocol);
            session.spawn(about, move |io| channels::carry(io, node, dialect));
        }
        Offer::Spdy { .. } => {
            session.spawn(about, move |io| streams::carry(io, node, wanted));
        }
    }
    offer.accept(protocol)
}

/// The standard streams that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    fn of(query: &Query) -> Self {
        let tty = query.flag("tty");
        // Clients leave out what they do not want; who names neither output wants both.
        let neither = query.get("stdout").is_none() && query.get("stderr").is_none();
        Self {
            stdin: query.flag("stdin"),
            stdout: neither || query.flag("stdout"),
            // A terminal has one output.
            stderr: !tty && (neither || query.flag("stderr")),
            tty,
        }
    }

    fn named(self) -> [(&'static str, bool); 4] {
        [
            ("stdin", self.stdin),
            ("stdout", self.stdout),
            ("stderr", self.stderr),
            ("tty", self.tty),
        ]
    }

    /// What the node is told, of which pod and what command.
    fn query(self, uid: &str, command: &[&str]) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("uid", uid);
        for (name, is_wanted) in self.named() {
            query.append_pair(name, if is_wanted { "true" } else { "false" });
        }
        for word in command {
            query.append_pair("command", word);
        }
        query.finish()
    }

    fn check(self, command: &[&str]) -> Result<(), ApiError> {
        let problem = if command.is_empty() {
            "you must specify at least one command for the container"
        } else if command.iter().map(|word| word.len()).sum::<usize>() > COMMAND_BYTES {
            "the command is too long"
        } else if !(self.stdin || self.stdout || self.stderr) {
            "you must specify at least one of stdin, stdout, stderr"
        } else {
            return Ok(());
        };
        Err(ApiError::bad_request(problem))
    }
}

/// A node's refusal in the API's words.
fn refusal(error: OpenError) -> ApiError {
    match error {
        OpenError::Link(error) => error::from_link(error),
        OpenError::Refused { code, message } => match code {
            StatusCode::NOT_FOUND => ApiError::new(Reason::NotFound, message),
            StatusCode::BAD_REQUEST => ApiError::bad_request(message),
            _ => ApiError::internal(message),
        },
    }
}

/// The message of a Status that says that something failed.
fn failure(status: &[u8]) -> Option<String> {
    let status: Value = serde_json::from_slice(status).ok()?;
    if status.get("status")? == "Success" {
        return None;
    }
    Some(status.get("message")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests;
