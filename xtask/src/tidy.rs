//! Rules of the repository that no compiler checks: sizes, headers, who may depend on whom, files nobody compiles, sleeps in tests.
//! Each rule returns what it found wrong; all are run before the task fails.

mod crates;
mod sources;

use anyhow::bail;

/// Checks every rule and prints each violation.
pub(crate) fn check() -> anyhow::Result<()> {
    let files = sources::Sources::collect()?;
    let metadata = crates::Metadata::read()?;
    let mut wrong = Vec::new();
    wrong.extend(files.without_header());
    wrong.extend(files.too_long());
    wrong.extend(files.sleeping_tests());
    wrong.extend(files.unfinished());
    wrong.extend(files.badly_named());
    wrong.extend(files.orphans());
    wrong.extend(metadata.forbidden_dependencies());
    wrong.extend(metadata.unlisted_in_architecture()?);
    wrong.extend(crates::without_inheritance()?);
    for line in &wrong {
        eprintln!("tidy: {line}");
    }
    match wrong.len() {
        0 => Ok(()),
        count => bail!("{count} tidy rules broken"),
    }
}
