//! Runs other programs for a task: echoes what runs, fails with the program's name and the tail of what it said.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// How many of the last lines of a failed program are shown.
const TAIL: usize = 60;

/// Runs `command` with its output passed through.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs `command` behind a spinner that shows `title` and the program's latest line; prints its last lines when it fails.
pub(crate) fn quietly(title: &str, command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let started = Instant::now();
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template(
        "{spinner} {prefix} [{elapsed}] {wide_msg}",
    )?);
    bar.set_prefix(title.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {shown}"))?;
    let mut tail = std::collections::VecDeque::with_capacity(TAIL);
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.with_context(|| format!("read the output of {shown}"))?;
            bar.set_message(line.trim().to_owned());
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    }
    let status = child.wait().with_context(|| format!("wait for {shown}"))?;
    bar.finish_and_clear();
    if !status.success() {
        for line in tail {
            eprintln!("{line}");
        }
        bail!("{shown}: {status}");
    }
    eprintln!("✓ {title} ({:.1} s)", started.elapsed().as_secs_f32());
    Ok(())
}

/// What `command` prints, if it can be started and succeeds.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}
