//! Runs what was read. The commands of a pipeline run side by side, each with a copy of the shell; a command alone changes the shell it is in.

use std::{fs::File, future::Future, io, pin::Pin, rc::Rc};

use futures::future::join_all;

use super::{
    Shell, expand,
    syntax::{Command, Entry, Kind, List, Pipeline, Target, When},
};
use crate::{
    applets, glob, pipe,
    streams::{Input, Output},
};

/// The deepest that scripts call scripts.
const DEPTH: u32 = 30;

/// What happens after a command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    /// The next one.
    Next,
    /// The shell ends.
    Exit(i32),
    /// So many loops end.
    Break(u32),
    /// So many loops less one end, and the last goes on.
    Continue(u32),
}

impl Flow {
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Exit(code) => Some(code),
            _ => None,
        }
    }
}

type Running<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A command's streams.
struct Streams {
    stdin: Input,
    out: Output,
    err: Output,
}

/// Runs a script to its end.
pub async fn script(
    shell: &mut Shell,
    parsed: &List,
    stdin: Input,
    out: Output,
    err: Output,
) -> i32 {
    if shell.depth >= DEPTH {
        let _ = err.write(b"sh: scripts call scripts too deep\n").await;
        return 1;
    }
    shell.depth += 1;
    let flow = list(shell, parsed, stdin, &out, &err).await;
    shell.depth -= 1;
    flow.code().unwrap_or(shell.status)
}

/// Runs pipelines one after another.
pub fn list<'a>(
    shell: &'a mut Shell,
    list: &'a List,
    stdin: Input,
    out: &'a Output,
    err: &'a Output,
) -> Running<'a, Flow> {
    Box::pin(async move {
        for Entry { when, pipeline } in list {
            let runs = match when {
                When::Always => true,
                When::Succeeded => shell.status == 0,
                When::Failed => shell.status != 0,
            };
            if !runs {
                continue;
            }
            let flow = self::pipeline(shell, pipeline, stdin.clone(), out, err).await;
            if flow != Flow::Next {
                return flow;
            }
            let is_last_word = *when == When::Always && !pipeline.is_negated;
            if shell.ends_on_failure && shell.status != 0 && is_last_word && is_simple(pipeline) {
                return Flow::Exit(shell.status);
            }
        }
        Flow::Next
    })
}

fn is_simple(pipeline: &Pipeline) -> bool {
    pipeline
        .commands
        .iter()
        .all(|command| matches!(command.kind, Kind::Simple { .. }))
}

async fn pipeline(
    shell: &mut Shell,
    pipeline: &Pipeline,
    stdin: Input,
    out: &Output,
    err: &Output,
) -> Flow {
    let flow = if let [only] = pipeline.commands.as_slice() {
        let streams = Streams {
            stdin,
            out: out.clone(),
            err: err.clone(),
        };
        command(shell, only, streams).await
    } else {
        let mut running = Vec::new();
        let mut next = Some(stdin);
        let last = pipeline.commands.len() - 1;
        for (index, one) in pipeline.commands.iter().enumerate() {
            let stdin = next.take().unwrap_or(Input::Empty);
            let to = if index == last {
                out.clone()
            } else {
                let (writer, reader) = pipe::new();
                next = Some(Input::Pipe(Rc::new(reader)));
                Output::Pipe(writer)
            };
            let streams = Streams {
                stdin,
                out: to,
                err: err.clone(),
            };
            let mut inner = shell.clone();
            running.push(async move {
                let flow = command(&mut inner, one, streams).await;
                flow.code().unwrap_or(inner.status)
            });
        }
        shell.status = join_all(running).await.last().copied().unwrap_or(0);
        Flow::Next
    };
    if pipeline.is_negated {
        shell.status = i32::from(shell.status == 0);
    }
    flow
}

fn command<'a>(shell: &'a mut Shell, command: &'a Command, streams: Streams) -> Running<'a, Flow> {
    Box::pin(async move {
        let err = streams.err.clone();
        let streams = match redirected(shell, command, streams).await {
            Ok(streams) => streams,
            Err(why) => {
                let _ = err.write(format!("sh: {why}\n").as_bytes()).await;
                shell.status = 1;
                return Flow::Next;
            }
        };
        match &command.kind {
            Kind::Simple { assignments, words } => simple(shell, assignments, words, streams).await,
            other => compound(shell, other, streams).await,
        }
    })
}

async fn redirected(
    shell: &mut Shell,
    command: &Command,
    mut streams: Streams,
) -> Result<Streams, String> {
    for redirection in &command.redirections {
        let err = streams.err.clone();
        let opened = |name: &str, result: io::Result<File>| {
            result.map_err(|error| format!("{name}: {error}"))
        };
        let output = match &redirection.to {
            Target::Read(word) => {
                let name = expand::text(shell, word, &err).await;
                streams.stdin = if name == "/dev/null" {
                    Input::Empty
                } else {
                    Input::File(Rc::new(opened(&name, File::open(shell.path(&name)))?))
                };
                continue;
            }
            Target::Text(word) => {
                let text = expand::text(shell, word, &err).await;
                let (writer, reader) = pipe::new();
                streams.stdin = Input::Pipe(Rc::new(reader));
                // Written by a task of its own: it may be longer than a pipe holds.
                wstd::runtime::spawn(async move {
                    let _ = writer.write(text.as_bytes()).await;
                })
                .detach();
                continue;
            }
            Target::Write(word) | Target::Append(word) => {
                let name = expand::text(shell, word, &err).await;
                let path = shell.path(&name);
                match name.as_str() {
                    "/dev/null" => Output::Null,
                    "/dev/stdout" => streams.out.clone(),
                    "/dev/stderr" => streams.err.clone(),
                    _ => {
                        let appends = matches!(redirection.to, Target::Append(_));
                        let mut options = File::options();
                        options
                            .write(true)
                            .create(true)
                            .append(appends)
                            .truncate(!appends);
                        Output::File(Rc::new(opened(&name, options.open(path))?))
                    }
                }
            }
            Target::Same(1) => streams.out.clone(),
            Target::Same(2) => streams.err.clone(),
            Target::Same(_) => return Err("standard input is no output".to_owned()),
        };
        match redirection.of {
            1 => streams.out = output,
            2 => streams.err = output,
            _ => return Err("standard input cannot be written to".to_owned()),
        }
    }
    Ok(streams)
}

async fn simple(
    shell: &mut Shell,
    assignments: &[(String, super::syntax::Word)],
    words: &[super::syntax::Word],
    streams: Streams,
) -> Flow {
    let args = expand::words(shell, words, &streams.err).await;
    let mut values = Vec::new();
    for (name, word) in assignments {
        values.push((name, expand::text(shell, word, &streams.err).await));
    }
    if args.is_empty() {
        for (name, value) in values {
            shell.set(name, &value);
        }
        // A substitution's status stays.
        if words.is_empty()
            && assignments.iter().all(|(_, word)| {
                word.iter()
                    .all(|part| !matches!(part, super::syntax::Part::Substitution { .. }))
            })
        {
            shell.status = 0;
        }
        return Flow::Next;
    }
    let number = |or: i64| {
        args.get(1)
            .and_then(|arg| arg.parse::<i64>().ok())
            .unwrap_or(or)
    };
    match args[0].as_str() {
        "exit" | "return" => {
            // Exit codes have a byte.
            let code = i32::from(number(shell.status.into()).to_le_bytes()[0]);
            return Flow::Exit(code);
        }
        "break" => return Flow::Break(u32::try_from(number(1)).unwrap_or(1).max(1)),
        "continue" => return Flow::Continue(u32::try_from(number(1)).unwrap_or(1).max(1)),
        "exec" if args.len() > 1 => {
            let code =
                applets::run(shell, &args[1..], streams.stdin, streams.out, streams.err).await;
            return Flow::Exit(code);
        }
        _ => {}
    }
    // What is set before a command is set for it alone.
    let before: Vec<_> = values
        .iter()
        .map(|(name, _)| ((*name).clone(), shell.vars().get(*name).cloned()))
        .collect();
    for (name, value) in &values {
        shell.set(name, value);
    }
    shell.status = applets::run(shell, &args, streams.stdin, streams.out, streams.err).await;
    for (name, value) in before {
        match value {
            Some(value) => shell.set(&name, &value),
            None => shell.unset(&name),
        }
    }
    Flow::Next
}

async fn compound(shell: &mut Shell, kind: &Kind, streams: Streams) -> Flow {
    let Streams { stdin, out, err } = streams;
    match kind {
        Kind::Simple { .. } => Flow::Next,
        Kind::Group(group) => list(shell, group, stdin.clone(), &out, &err).await,
        Kind::Subshell(group) => {
            let mut inner = shell.clone();
            let flow = list(&mut inner, group, stdin.clone(), &out, &err).await;
            shell.status = flow.code().unwrap_or(inner.status);
            Flow::Next
        }
        Kind::If { cases, otherwise } => {
            let errors = std::mem::take(&mut shell.ends_on_failure);
            for (condition, body) in cases {
                let flow = list(shell, condition, stdin.clone(), &out, &err).await;
                if flow != Flow::Next {
                    return flow;
                }
                if shell.status == 0 {
                    shell.ends_on_failure = errors;
                    return list(shell, body, stdin.clone(), &out, &err).await;
                }
            }
            shell.ends_on_failure = errors;
            shell.status = 0;
            match otherwise {
                Some(body) => list(shell, body, stdin.clone(), &out, &err).await,
                None => Flow::Next,
            }
        }
        Kind::Loop {
            is_until,
            condition,
            body,
        } => {
            let mut code = 0;
            loop {
                let errors = std::mem::take(&mut shell.ends_on_failure);
                let flow = list(shell, condition, stdin.clone(), &out, &err).await;
                shell.ends_on_failure = errors;
                if flow != Flow::Next {
                    return flow;
                }
                if (shell.status == 0) == *is_until {
                    break;
                }
                match looped(list(shell, body, stdin.clone(), &out, &err).await) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(flow) => return flow,
                }
                code = shell.status;
            }
            shell.status = code;
            Flow::Next
        }
        Kind::For { name, words, body } => {
            let values = expand::words(shell, words, &err).await;
            shell.status = 0;
            for value in values {
                shell.set(name, &value);
                match looped(list(shell, body, stdin.clone(), &out, &err).await) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(flow) => return flow,
                }
            }
            Flow::Next
        }
        Kind::Case { word, arms } => {
            let value = expand::text(shell, word, &err).await;
            shell.status = 0;
            for (patterns, body) in arms {
                for pattern in patterns {
                    let pattern = expand::pattern(shell, pattern, &err).await;
                    if glob::matches(&pattern, &value) {
                        return list(shell, body, stdin.clone(), &out, &err).await;
                    }
                }
            }
            Flow::Next
        }
    }
}

/// Whether a loop goes on after its body; or what ends more than the loop.
fn looped(flow: Flow) -> Result<bool, Flow> {
    match flow {
        Flow::Next | Flow::Continue(1) => Ok(true),
        Flow::Break(1) => Ok(false),
        Flow::Break(more) => Err(Flow::Break(more - 1)),
        Flow::Continue(more) => Err(Flow::Continue(more - 1)),
        Flow::Exit(code) => Err(Flow::Exit(code)),
    }
}
