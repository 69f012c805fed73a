//! Log lines on standard error: the node stamps them with the time, keeps them, and `kubectl logs` shows them.
//!
//! A line is written whole and newlines inside a message are escaped, so that one message is one line whatever it holds.

use std::{fmt::Write as _, io::Write as _};

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// Something worth knowing happened.
    Info,
    /// Something unexpected was dealt with.
    Warn,
    /// Something failed.
    Error,
}

/// Logs a message at a level. Levels below the variable `LOG_LEVEL` (`debug`, `info`, `warn`, `error`; default `info`) are left out.
///
/// ```
/// use coracle_sdk::log::{Level, log};
/// log(Level::Info, "ready");
/// ```
pub fn log(level: Level, message: &str) {
    if level < threshold() {
        return;
    }
    let name = match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let mut line = String::with_capacity(message.len() + 8);
    let _ = write!(line, "{name} ");
    for character in message.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            other => line.push(other),
        }
    }
    line.push('\n');
    // Nobody could be told that the log is closed.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn threshold() -> Level {
    static THRESHOLD: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *THRESHOLD.get_or_init(|| match std::env::var("LOG_LEVEL").as_deref() {
        Ok("debug") => Level::Debug,
        Ok("warn") => Level::Warn,
        Ok("error") => Level::Error,
        _ => Level::Info,
    })
}

/// Logs at [`Level::Debug`].
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Logs at [`Level::Info`].
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Logs at [`Level::Warn`].
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Logs at [`Level::Error`].
pub fn error(message: &str) {
    log(Level::Error, message);
}
