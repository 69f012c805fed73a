//! `cargo xtask torture`: the store's crash tests, over and over with new seeds. What the suite does a few hundred times is done here until the
//! time is up: kills, power cuts, damage. A failure prints the seed that brings it back.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};

use crate::workspace;

/// Of each in one round: enough that starting the test binary does not count, so few that the time asked for is met.
const KILLS: u64 = 200;
const CUTS: u64 = 200;
/// What is shown of a failed test.
const TAIL: usize = 40;

/// What was done so far.
#[derive(Default)]
struct Tally {
    kills: u64,
    steps: u64,
    cuts: u64,
    damages: u64,
    refusals: u64,
}

/// Tortures the store for `minutes`, beginning with `seed`.
pub(crate) fn run(minutes: u64, seed: Option<u64>) -> anyhow::Result<()> {
    let binary = build()?;
    let end = Instant::now() + Duration::from_secs(minutes.saturating_mul(60));
    let mut seed = match seed {
        Some(seed) => seed,
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("read the clock")?
            .as_secs(),
    };
    let mut tally = Tally::default();
    loop {
        for test in ["kill::", "power_cut::", "damage::a_damaged"] {
            let said = torture(&binary, test, seed)?;
            tally.count(&said);
        }
        println!(
            "seed {seed}: so far {} kills ({} acknowledged steps), {} power cuts, {} damaged stores of which {} were refused; nothing lost, no silent rollback, none unopenable",
            tally.kills, tally.steps, tally.cuts, tally.damages, tally.refusals
        );
        if Instant::now() >= end {
            return Ok(());
        }
        seed = seed.wrapping_add(1);
    }
}

impl Tally {
    /// Adds what a test says of itself, in words and numbers.
    fn count(&mut self, said: &str) {
        let mut words = said.split_ascii_whitespace().peekable();
        while let Some(word) = words.next() {
            let sum = match word {
                "kills" => &mut self.kills,
                "steps" => &mut self.steps,
                "cuts" => &mut self.cuts,
                "damages" => &mut self.damages,
                "refusals" => &mut self.refusals,
                _ => continue,
            };
            let number = words.peek().and_then(|next| next.parse::<u64>().ok());
            *sum += number.unwrap_or(0);
        }
    }
}

/// Runs tests of the binary with this seed.
fn torture(binary: &PathBuf, test: &str, seed: u64) -> anyhow::Result<String> {
    let output: Output = Command::new(binary)
        .args([test, "--nocapture", "--test-threads=1"])
        .env("CORACLE_TORTURE_SEED", seed.to_string())
        .env("CORACLE_TORTURE_KILLS", KILLS.to_string())
        .env("CORACLE_TORTURE_CUTS", CUTS.to_string())
        .output()
        .with_context(|| format!("run {}", binary.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let complained = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().chain(complained.lines()).collect();
    for line in lines.iter().skip(lines.len().saturating_sub(TAIL)) {
        eprintln!("{line}");
    }
    bail!(
        "{test} failed with seed {seed}; again: CORACLE_TORTURE_SEED={seed} CORACLE_TORTURE_KILLS={KILLS} CORACLE_TORTURE_CUTS={CUTS} cargo test --release -p coracle-store --test crash -- {test} --nocapture"
    )
}

/// Builds the tests and says where they are.
fn build() -> anyhow::Result<PathBuf> {
    let output = Command::new("cargo")
        .args([
            "test",
            "--release",
            "--locked",
            "--package",
            "coracle-store",
            "--test",
            "crash",
            "--no-run",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(workspace::root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("build the store's crash tests")?;
    if !output.status.success() {
        bail!("the store's crash tests do not build");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let binary = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message.pointer("/target/name")?.as_str()? == "crash").then_some(())?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    binary.context("cargo does not say where the tests are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_say_is_counted() {
        let mut tally = Tally::default();
        tally.count("test kill:: ...\nkills 200 steps 4711\ncuts 200 deeds 9\nkills none\n");
        tally.count("damages 90 refusals 60\ndamages 10 refusals 9 ok");
        assert_eq!((tally.kills, tally.steps, tally.cuts), (200, 4711, 200));
        assert_eq!((tally.damages, tally.refusals), (100, 69));
    }
}
