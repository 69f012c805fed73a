//! Runs commands in containers that run: for `kubectl exec`, probes and hooks. Which module a command is: the container's own, by the name it was started as,
//! or the built-in toolbox, which knows the rest.

use std::{sync::Arc, time::Duration};

use coracle_runtime::{CommandSpec, Container, Exit, LogSink, Stdin};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    environment::arguments, parts::Parts, said::Said, sandbox::Sandbox, worker::container_of,
};

/// How a shell calls the end of a command that was interrupted: 128 and the number of SIGINT.
pub(crate) const INTERRUPTED: i32 = 130;
/// What of a command's output is kept where it only explains a failure. Upstream's bound for probes.
const OUTPUT_BYTES: usize = 10 << 10;
/// The variable that says what the container's own program is, for `ps`.
const PROGRAM: &str = "CORACLE_PROGRAM";

/// A command's standard streams.
pub(crate) struct Streams {
    pub(crate) stdin: Option<Arc<Stdin>>,
    pub(crate) stdout: Arc<dyn LogSink>,
    pub(crate) stderr: Arc<dyn LogSink>,
    pub(crate) is_terminal: bool,
}

/// A command that runs. Dropping it kills it.
pub(crate) struct Running {
    pub(crate) process: Container,
    /// It is the toolbox, which takes interruptions from its input.
    pub(crate) is_toolbox: bool,
}

/// Starts a command in the container `name` of a pod.
///
/// # Errors
/// Why it cannot be run, for people.
pub(crate) async fn start(
    parts: &Parts,
    sandbox: &Sandbox,
    pod: &Pod,
    name: &str,
    command: &[String],
    streams: Streams,
) -> Result<Running, String> {
    let running = sandbox.all_running();
    let found = running
        .iter()
        .find(|(container, _, _)| &**container == name);
    let (_, _, container) = found.ok_or_else(|| format!("container not found (\"{name}\")"))?;
    let spec = container_of(pod, name);
    let own = spec
        .map(|spec| arguments(spec, &[], &[], &[]))
        .unwrap_or_default();
    let is_toolbox = command.first() != own.first();
    let artifact = if is_toolbox {
        parts.toolbox.artifact(&parts.runtime).await?
    } else {
        let image = sandbox.image(name).ok_or("the image is not at hand")?;
        image.artifact
    };
    let mut env = Vec::new();
    if is_toolbox {
        env.push((PROGRAM.to_owned(), own.join(" ")));
    }
    if streams.is_terminal {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let spec = CommandSpec {
        artifact,
        args: command.to_vec(),
        env,
        stdin: streams.stdin,
        is_terminal: streams.is_terminal,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let process = container.run(&parts.runtime, spec);
    let process = process.map_err(|error| error.to_string())?;
    Ok(Running {
        process,
        is_toolbox,
    })
}

/// Runs a command whose success alone matters, for `limit` at most.
///
/// # Errors
/// What was wrong: what it said where it said something.
pub(crate) async fn succeeds(
    parts: &Parts,
    sandbox: &Sandbox,
    pod: &Pod,
    name: &str,
    command: &[String],
    limit: Duration,
) -> Result<(), String> {
    let output = Arc::new(Kept::default());
    let streams = Streams {
        stdin: None,
        stdout: Arc::clone(&output) as Arc<dyn LogSink>,
        stderr: Arc::clone(&output) as Arc<dyn LogSink>,
        is_terminal: false,
    };
    let running = async {
        let running = start(parts, sandbox, pod, name, command, streams).await?;
        Ok::<_, String>(running.process.wait().await)
    };
    let ended = tokio::time::timeout(limit, running).await;
    let Ok(exit) = ended else {
        let words = command.join(" ");
        return Err(format!("command {words:?} timed out"));
    };
    match exit? {
        Exit::Completed(0) => Ok(()),
        exit => {
            let said = output.text();
            Err(if said.is_empty() {
                exit.to_string()
            } else {
                said
            })
        }
    }
}

/// Says how a command ended: in words where it did not end by itself, and then as a Status.
pub(crate) fn tell_end(said: &Said, channel: u8, exit: &Exit) {
    if !matches!(exit, Exit::Completed(_)) {
        said.say(channel, format!("{exit}\n").as_bytes());
    }
    let status = coracle_api::channels::ended(exit.code()).to_string();
    said.end(coracle_api::channels::ERROR, status.as_bytes());
}

/// The beginning of what a command says.
#[derive(Debug, Default)]
struct Kept(parking_lot::Mutex<Vec<u8>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock())
            .trim_end()
            .to_owned()
    }
}

impl LogSink for Kept {
    fn poll_ready(&self, _context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }

    fn write(&self, bytes: bytes::Bytes) {
        let mut kept = self.0.lock();
        let room = OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }
}
