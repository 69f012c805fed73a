//! Rules about single source files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{step, workspace};

/// A file is never longer, its tests file apart: look for the second noun at 400.
const LINE_LIMIT: usize = 600;

/// A Rust file that git knows, or would.
struct Source {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

/// All of them.
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// Reads every `.rs` file that is tracked or about to be.
    pub(super) fn collect() -> anyhow::Result<Self> {
        let mut git = Command::new("git");
        git.args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
        ])
        .current_dir(workspace::root());
        let listing = step::output(&mut git).context("list the sources with git")?;
        let mut sources = Vec::new();
        for line in listing.lines() {
            let path = PathBuf::from(line);
            let full = workspace::root().join(&path);
            // Deleted in the work tree, not yet in the index.
            if full.exists() {
                let text = fs::read_to_string(&full).with_context(|| format!("read {line}"))?;
                sources.push(Source { path, text });
            }
        }
        Ok(Self(sources))
    }

    fn all(&self) -> impl Iterator<Item = (String, &Source)> {
        self.0
            .iter()
            .map(|source| (source.path.display().to_string(), source))
    }

    /// Files that do not say what they are for.
    pub(super) fn without_header(&self) -> Vec<String> {
        self.all()
            .filter(|(_, source)| !source.text.starts_with("//!"))
            .map(|(path, _)| {
                format!("{path}: the first line must say, with //!, what the file is for")
            })
            .collect()
    }

    /// Files over the limit.
    pub(super) fn too_long(&self) -> Vec<String> {
        self.all()
            .filter(|(path, _)| !path.ends_with("/tests.rs"))
            .map(|(path, source)| (path, source.text.lines().count()))
            .filter(|(_, lines)| *lines > LINE_LIMIT)
            .map(|(path, lines)| format!("{path}: {lines} lines, the limit is {LINE_LIMIT}: which second noun can move out?"))
            .collect()
    }

    /// Tests that wait for time instead of a predicate.
    pub(super) fn sleeping_tests(&self) -> Vec<String> {
        let sleep = ["time::sleep(", "thread::sleep("];
        let mut found = Vec::new();
        for (path, source) in self.all() {
            let is_test_file =
                path.ends_with("tests.rs") || path.split('/').any(|part| part == "tests");
            // The one place where a deadline is turned into waiting, and guests, which sleep as their behaviour.
            if path == "tests/harness/wait.rs" || path.starts_with("tests/fixtures/guests/") {
                continue;
            }
            let tests_from = source
                .text
                .find("#[cfg(test)]")
                .unwrap_or(source.text.len());
            let text = if is_test_file {
                source.text.as_str()
            } else {
                source.text.get(tests_from..).unwrap_or_default()
            };
            if sleep.iter().any(|call| text.contains(call)) {
                found.push(format!(
                    "{path}: a test sleeps; wait on a predicate with a deadline"
                ));
            }
        }
        found
    }

    /// Work that was left undone.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let marks = [
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("X", "XX"),
            concat!("#[ig", "nore"),
            concat!("#[should_", "panic"),
        ];
        let mut found = Vec::new();
        for (path, source) in self.all() {
            for mark in marks {
                if source.text.contains(mark) {
                    found.push(format!(
                        "{path}: {mark}: finish it or file an issue and name it"
                    ));
                }
            }
        }
        found
    }

    /// Names that say nothing.
    pub(super) fn badly_named(&self) -> Vec<String> {
        let banned = [
            "utils.rs",
            "util.rs",
            "helpers.rs",
            "common.rs",
            "types.rs",
            "manager.rs",
            "misc.rs",
        ];
        self.all()
            .filter(|(_, source)| {
                source
                    .path
                    .file_name()
                    .is_some_and(|name| banned.iter().any(|bad| name == *bad))
            })
            .map(|(path, _)| format!("{path}: name the noun the file is about"))
            .collect()
    }

    /// Files that no `mod` line and no cargo target reaches, so that they rot unseen.
    pub(super) fn orphans(&self) -> Vec<String> {
        self.all()
            .filter(|(path, source)| !is_target(path) && !self.is_declared(&source.path))
            .map(|(path, _)| format!("{path}: no `mod` line reaches it"))
            .collect()
    }

    /// Whether a file that can be the parent module of `path` has its `mod` line.
    fn is_declared(&self, path: &Path) -> bool {
        let (Some(folder), Some(stem)) = (
            path.parent(),
            path.file_stem().map(|stem| stem.to_string_lossy()),
        ) else {
            return false;
        };
        let (name, home) = if stem == "mod" {
            let name = folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            (name, folder.parent().unwrap_or(folder))
        } else {
            (stem.into_owned(), folder)
        };
        let line = format!("mod {name};");
        let parents = [
            home.with_extension("rs"),
            home.join("mod.rs"),
            home.join("lib.rs"),
            home.join("main.rs"),
        ];
        self.0.iter().any(|source| {
            parents.contains(&source.path)
                && source
                    .text
                    .lines()
                    .any(|text| text.trim_end().ends_with(&line))
        }) || self
            .0
            .iter()
            .any(|source| source.text.contains(&format!("#[path = \"{name}.rs\"]")))
    }
}

/// Whether cargo itself compiles the file.
fn is_target(path: &str) -> bool {
    let ends = ["src/lib.rs", "src/main.rs", "build.rs", "main.rs"];
    ends.iter()
        .any(|end| path == *end || path.ends_with(&format!("/{end}")))
        || path.split('/').rev().nth(1).is_some_and(|folder| {
            ["tests", "examples", "benches", "bin", "fuzz_targets"].contains(&folder)
        })
        || path == "tests/harness/lib.rs"
}
