//! docs/api-support.md as a value: a row per subcommand, a column per kubectl.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
};

use super::rows::ROWS;

/// What the page says before the table.
const HEAD: &str = "# What kubectl can do here

Made by `tests/conformance/support.rs`, which runs every row with every kubectl at hand against a control plane without nodes. `yes`: it does what it does with
Kubernetes; `no`: it does not. What needs a running pod (exec, cp, logs, port-forward, top) is run by the tests in `tests/e2e`.

";

/// The table.
pub struct Page {
    /// By row, then by version: whether it works.
    cells: BTreeMap<String, BTreeMap<String, bool>>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/api-support.md")
}

impl Page {
    /// The page as it is in the repository; empty when there is none.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(path()).unwrap_or_default();
        let mut lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let versions: Vec<&str> = lines
            .next()
            .unwrap_or_default()
            .split(" | ")
            .skip(1)
            .collect();
        let mut cells: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
        for line in lines {
            let mut parts = line.split(" | ");
            let name = parts.next().unwrap_or_default().trim_matches('`');
            let row = cells.entry(name.to_owned()).or_default();
            for (version, cell) in versions.iter().zip(parts) {
                if ["yes", "no"].contains(&cell) {
                    row.insert((*version).to_owned(), cell == "yes");
                }
            }
        }
        Self { cells }
    }

    /// Puts results in; gives what worked and does not any more.
    pub fn update(&mut self, results: &BTreeMap<String, Vec<Result<(), String>>>) -> Vec<String> {
        let mut regressions = Vec::new();
        for (version, results) in results {
            for (row, result) in ROWS.iter().zip(results) {
                let cells = self.cells.entry(row.name.to_owned()).or_default();
                let before = cells.insert(version.clone(), result.is_ok());
                if before == Some(true) && result.is_err() {
                    regressions.push(format!("{} with {version}", row.name));
                    // The page keeps what is promised.
                    cells.insert(version.clone(), true);
                }
            }
        }
        regressions
    }

    /// Writes the page, if it has changed.
    pub fn write(&self) {
        let versions: BTreeSet<&String> = self.cells.values().flat_map(BTreeMap::keys).collect();
        let mut versions: Vec<&String> = versions.into_iter().collect();
        versions.sort_by_key(|version| {
            let numbers = version.split('.').map(|part| part.parse().unwrap_or(0_u32));
            numbers.collect::<Vec<_>>()
        });
        let mut text = HEAD.to_owned();
        let heads: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
        writeln!(text, "| kubectl | {} |", heads.join(" | ")).unwrap();
        writeln!(text, "|{}", "---|".repeat(versions.len() + 1)).unwrap();
        for row in ROWS {
            let cells = self.cells.get(row.name);
            let shown =
                versions.iter().map(
                    |version| match cells.and_then(|cells| cells.get(*version)) {
                        Some(true) => "yes",
                        Some(false) => "no",
                        None => "-",
                    },
                );
            let shown: Vec<_> = shown.collect();
            writeln!(text, "| `{}` | {} |", row.name, shown.join(" | ")).unwrap();
        }
        if std::fs::read_to_string(path()).is_ok_and(|before| before == text) {
            return;
        }
        std::fs::write(path(), text).unwrap();
    }
}
