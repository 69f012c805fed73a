//! Load: the wrk program, the same for everybody that is measured.

use std::process::Command;

use crate::apt;

/// What a server did under load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Milliseconds within which half of the answers came.
    pub(crate) p50: f64,
    /// Milliseconds within which 99 of 100 came.
    pub(crate) p99: f64,
}

/// Connections at a time, and for how many seconds.
const SHAPE: [&str; 4] = ["-t1", "-c32", "-d5s", "--latency"];

/// Has `url` asked over and over.
///
/// # Panics
/// When an answer is not a good one, or wrk says what is not understood.
pub(crate) fn ask(url: &str) -> Load {
    apt::ensure("wrk", "wrk");
    let output = Command::new("wrk").args(SHAPE).arg(url).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !said.contains("Non-2xx") && !said.contains("Socket errors"),
        "{url} failed under load:\n{said}"
    );
    let after = |label: &str| {
        let line = said
            .lines()
            .find_map(|line| line.trim().strip_prefix(label))
            .unwrap_or_else(|| panic!("no {label} in what wrk said:\n{said}"));
        line.trim().to_owned()
    };
    Load {
        rate: after("Requests/sec:").parse().unwrap(),
        p50: milliseconds(&after("50%")),
        p99: milliseconds(&after("99%")),
    }
}

/// wrk tells times as `520.00us`, `1.20ms` or `2.00s`.
fn milliseconds(text: &str) -> f64 {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let found = units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    });
    found.unwrap_or_else(|| panic!("{text} is no time"))
}
