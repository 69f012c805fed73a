//! Why a container ended. A guest's fault is never taken for the host's or the other way round.

use std::fmt;

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// The end of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this code.
    Completed(i32),
    /// It did what WebAssembly does not allow.
    Trapped(TrapInfo),
    /// Its fuel budget is spent.
    OutOfFuel,
    /// It needed more memory than its limit.
    OutOfMemory,
    /// It was told to stop and did not within its grace period, or was killed.
    Stopped,
    /// The host failed it.
    HostFault(String),
}

/// A trap, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrapInfo {
    /// What kind.
    pub kind: String,
    /// Where: function names, innermost first, a line each.
    pub backtrace: String,
}

/// The exit code of a process killed by SIGKILL, which Kubernetes shows for OOMKilled and for grace periods that ran out.
const KILLED: i32 = 137;
/// The exit code of a process that aborted (SIGABRT): what a trap is nearest to.
const ABORTED: i32 = 134;
/// As many lines of a backtrace are told.
const LINES: usize = 24;

impl Exit {
    /// The code that Kubernetes shows.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::Completed(code) => *code,
            Self::Trapped(_) => ABORTED,
            Self::OutOfMemory | Self::OutOfFuel | Self::Stopped => KILLED,
            Self::HostFault(_) => 128,
        }
    }

    /// What the error that ended a call of the guest says. `refused_memory`: the guest was refused memory before.
    pub(crate) fn of_error(error: &wasmtime::Error, refused_memory: bool) -> Self {
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return Self::Completed(exit.0);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Self::OutOfFuel,
            // A program that is refused memory gives up with a trap of some kind.
            _ if refused_memory => Self::OutOfMemory,
            Some(trap) => Self::Trapped(TrapInfo {
                kind: trap.to_string(),
                backtrace: backtrace(error),
            }),
            None => Self::Trapped(TrapInfo {
                kind: root(error),
                backtrace: backtrace(error),
            }),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed(code) => write!(f, "exited with code {code}"),
            Self::Trapped(trap) => write!(f, "trapped: {}\n{}", trap.kind, trap.backtrace),
            Self::OutOfFuel => f.write_str("the fuel budget is spent"),
            Self::OutOfMemory => f.write_str("the memory limit is reached"),
            Self::Stopped => f.write_str("stopped by the node"),
            Self::HostFault(fault) => write!(f, "fault of the host: {fault}"),
        }
    }
}

/// The innermost message of an error.
fn root(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

fn backtrace(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let text = trace.to_string();
    let mut lines = text.lines();
    let mut shown: Vec<&str> = lines.by_ref().take(LINES).collect();
    if lines.next().is_some() {
        shown.push("  ...");
    }
    shown.join("\n")
}
