//! The shell: what POSIX's `sh` does, as far as people and manifests need it in a pod. Commands are the toolbox's own; there are no processes, so there are no
//! jobs (`&`) and no signals beyond the interruption of what runs.

mod expand;
mod parse;
mod run;
mod syntax;

use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
};

use futures::future::{Either, select};

use crate::{
    stdin,
    streams::{Input, Output},
};

/// The exit code of what was interrupted: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;
/// The exit code of a script that cannot be read.
const SYNTAX: i32 = 2;

/// A shell's state.
#[derive(Clone, Default)]
pub struct Shell {
    vars: BTreeMap<String, String>,
    /// The working directory, absolute.
    cwd: String,
    /// How the last command ended.
    status: i32,
    /// `$0`, `$1` and so on.
    words: Vec<String>,
    /// Commands that call scripts that call commands: so deep.
    depth: u32,
    /// `set -e`.
    ends_on_failure: bool,
}

impl Shell {
    pub fn new(vars: impl Iterator<Item = (String, String)>) -> Self {
        Self {
            vars: vars.collect(),
            cwd: "/".to_owned(),
            words: vec!["sh".to_owned()],
            ..Self::default()
        }
    }

    pub fn cwd(&self) -> &str {
        &self.cwd
    }

    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.vars.insert(name.to_owned(), value.to_owned());
    }

    pub fn unset(&mut self, name: &str) {
        self.vars.remove(name);
    }

    /// `set`: flags and `$1` and so on.
    pub fn configure(&mut self, args: &[String]) {
        let mut args = args.iter().peekable();
        while let Some(flag) = args.next_if(|arg| arg.starts_with(['-', '+']) && *arg != "--") {
            if flag.contains('e') {
                self.ends_on_failure = flag.starts_with('-');
            }
        }
        let _ = args.next_if(|arg| *arg == "--");
        if args.peek().is_some() {
            self.words.truncate(1);
            self.words.extend(args.cloned());
        }
    }

    /// Forgets `$1` and so on. Says whether there were as many.
    pub fn shift(&mut self, by: usize) -> bool {
        let are_enough = by < self.words.len();
        if are_enough {
            self.words.drain(1..by + 1);
        }
        are_enough
    }

    /// The absolute path of a file: WASI knows no working directory.
    pub fn path(&self, given: &str) -> PathBuf {
        let mut path = PathBuf::from("/");
        for part in Path::new(&self.cwd).join(given).components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::ParentDir => {
                    path.pop();
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        path
    }

    /// Goes to a directory.
    pub fn go(&mut self, to: &str) -> io::Result<()> {
        let path = self.path(to);
        if !crate::applets::files::is_folder(&path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.set("OLDPWD", &self.cwd.clone());
        self.cwd = path.to_string_lossy().into_owned();
        self.set("PWD", &self.cwd.clone());
        Ok(())
    }
}

/// `sh`: a script from `-c`, a file or standard input, line by line where somebody types.
pub async fn main(
    shell: &mut Shell,
    args: &[String],
    stdin: Input,
    out: Output,
    err: Output,
) -> i32 {
    let mut args = args.iter().skip(1).peekable();
    let mut is_command = false;
    while let Some(flag) = args
        .peek()
        .filter(|arg| arg.starts_with('-') && arg.len() > 1)
    {
        is_command |= flag.contains('c');
        shell.ends_on_failure |= flag.contains('e') && !flag.starts_with("--");
        args.next();
    }
    let mut rest: Vec<String> = args.cloned().collect();
    if is_command {
        if rest.is_empty() {
            let _ = err.write(b"sh: -c requires an argument\n").await;
            return SYNTAX;
        }
        let script = rest.remove(0);
        if !rest.is_empty() {
            shell.words = rest;
        }
        return script_run(shell, &script, stdin, out, err).await;
    }
    if !rest.is_empty() {
        let path = shell.path(&rest[0]);
        shell.words = rest;
        return match std::fs::read_to_string(&path) {
            Ok(script) => script_run(shell, &script, stdin, out, err).await,
            Err(error) => {
                let _ = err
                    .write(format!("sh: {}: {error}\n", path.display()).as_bytes())
                    .await;
                127
            }
        };
    }
    if stdin.is_terminal() {
        return interact(shell, out, err).await;
    }
    let mut stdin = stdin;
    match stdin.read_all().await {
        Ok(script) => {
            let script = String::from_utf8_lossy(&script).into_owned();
            script_run(shell, &script, Input::Empty, out, err).await
        }
        Err(_) => SYNTAX,
    }
}

/// Runs a whole script.
pub async fn script_run(
    shell: &mut Shell,
    script: &str,
    stdin: Input,
    out: Output,
    err: Output,
) -> i32 {
    match parse::script(script) {
        Ok(list) => run::script(shell, &list, stdin, out, err).await,
        Err(error) => {
            let _ = err.write(format!("sh: {error}\n").as_bytes()).await;
            SYNTAX
        }
    }
}

/// Reads commands from who types them.
async fn interact(shell: &mut Shell, out: Output, err: Output) -> i32 {
    let mut stdin = Input::Stdin;
    let mut script = String::new();
    loop {
        let prompt = if script.is_empty() {
            format!("{} $ ", shell.cwd)
        } else {
            "> ".to_owned()
        };
        if out.write(prompt.as_bytes()).await.is_err() {
            return shell.status;
        }
        let line = {
            let next = std::pin::pin!(stdin.line());
            match select(next, std::pin::pin!(stdin::interrupted())).await {
                Either::Left((line, _)) => line,
                Either::Right(_) => {
                    script.clear();
                    shell.status = INTERRUPTED;
                    continue;
                }
            }
        };
        let Ok(Some(line)) = line else {
            let _ = out.write(b"\n").await;
            return shell.status;
        };
        script.push_str(&String::from_utf8_lossy(&line));
        script.push('\n');
        let list = match parse::script(&script) {
            Ok(list) => list,
            // More is to come.
            Err(parse::Problem::Incomplete(_)) => continue,
            Err(error) => {
                let _ = err.write(format!("sh: {error}\n").as_bytes()).await;
                shell.status = SYNTAX;
                script.clear();
                continue;
            }
        };
        script.clear();
        let before = shell.clone();
        let ended = {
            let running = run::list(shell, &list, Input::Stdin, &out, &err);
            match select(running, std::pin::pin!(stdin::interrupted())).await {
                Either::Left((flow, _)) => Some(flow),
                Either::Right(_) => None,
            }
        };
        match ended {
            Some(run::Flow::Exit(code)) => return code,
            Some(_) => {}
            None => {
                *shell = before;
                shell.status = INTERRUPTED;
            }
        }
    }
}
