//! `coracle store`: what an operator does with the data of a control plane. Backups are taken from a running server; the rest is done to a store
//! that nobody runs.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use coracle_control_plane::Config;
use coracle_store::{
    SledOptions,
    backup::BackupReader,
    offline::{self, Holdings, RestoreError},
};
use http::Request;
use http_body_util::BodyExt as _;
use kube::client::Body;

use crate::{client::ClientArguments, private_file::Aside};

/// What to do.
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Reads all of a store, or of a backup, and checks it against itself.
    ///
    /// The control plane must be stopped to check its store. A store that cannot be the whole of what was acknowledged is refused here as it is
    /// at a start.
    Check(CheckArguments),
    /// Takes a backup of a running control plane: everything it stores, at one moment.
    ///
    /// It contains every Secret and is written readable by you alone. Asking for it takes the right to get the URL /store/backup, which only the
    /// administrator has unless a ClusterRole with that nonResourceURL gives it to others.
    Backup(BackupArguments),
    /// Makes the store of a new control plane from a backup.
    ///
    /// There must be no store in the data folder. Clients notice nothing but that they must list anew: revisions go on far ahead of those that were
    /// given out after the backup.
    Restore(RestoreArguments),
    /// Writes a store anew, as small as it can be, while the control plane is stopped.
    Compact(FolderArguments),
}

/// Where a control plane keeps its data.
#[derive(Args)]
pub(crate) struct FolderArguments {
    /// The data folder of the control plane.
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-data")]
    data_dir: PathBuf,
}

/// What to check.
#[derive(Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    folder: FolderArguments,
    /// Check this backup instead of a store.
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
}

/// From where, and where to.
#[derive(Args)]
pub(crate) struct BackupArguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The file to write. One that is there is replaced once the new backup is complete.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// From what, and where to.
#[derive(Args)]
pub(crate) struct RestoreArguments {
    #[command(flatten)]
    folder: FolderArguments,
    /// The backup.
    backup: PathBuf,
}

/// Does it.
pub(crate) async fn run(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Backup(arguments) => back_up(arguments).await,
        StoreCommand::Check(arguments) => {
            apart(move || match &arguments.backup {
                Some(path) => check_backup(path),
                None => check(&store_of(&arguments.folder)),
            })
            .await
        }
        StoreCommand::Restore(arguments) => apart(move || restore(&arguments)).await,
        StoreCommand::Compact(arguments) => apart(move || compact(&store_of(&arguments))).await,
    }
}

/// Runs what reads and writes a lot on a thread where that holds nobody up.
async fn apart(work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .context("the work panicked")?
}

fn store_of(arguments: &FolderArguments) -> PathBuf {
    Config::local(arguments.data_dir.clone()).store_dir()
}

fn check(folder: &Path) -> anyhow::Result<()> {
    let holdings = offline::check(folder, &SledOptions::default())
        .with_context(|| format!("check {}", folder.display()))?;
    tell(&format!(
        "{} is whole: {}",
        folder.display(),
        told(&holdings)
    ))
}

fn check_backup(path: &Path) -> anyhow::Result<()> {
    let about = || format!("check {}", path.display());
    let backup = BackupReader::new(File::open(path).with_context(about)?).with_context(about)?;
    let revision = backup.revision();
    let (records, bytes) = backup.check().with_context(about)?;
    tell(&format!(
        "{} is whole: {records} records, {bytes} bytes, at revision {revision}",
        path.display()
    ))
}

fn restore(arguments: &RestoreArguments) -> anyhow::Result<()> {
    let folder = store_of(&arguments.folder);
    let about = || format!("restore {}", arguments.backup.display());
    let open = || File::open(&arguments.backup).with_context(about);
    // All of it before anything is made of it.
    BackupReader::new(open()?)
        .and_then(BackupReader::check)
        .with_context(about)?;
    let restored = offline::restore(&folder, open()?, &SledOptions::default());
    let holdings = match restored {
        Err(RestoreError::NotEmpty(folder)) => bail!(
            "there is a store in {}, and a restore overwrites nothing: name another folder with --data-dir, or move that one away first",
            folder.display()
        ),
        restored => restored.with_context(about)?,
    };
    tell(&format!(
        "{} is made: {}",
        folder.display(),
        told(&holdings)
    ))?;
    tell(
        "Keys, certificates and images are not part of a backup: copy the folders pki and registry beside it if you have them",
    )
}

fn compact(folder: &Path) -> anyhow::Result<()> {
    let (before, after) = offline::compact(folder, &SledOptions::default())
        .with_context(|| format!("compact {}", folder.display()))?;
    tell(&format!(
        "{} takes {} of disk, it took {}",
        folder.display(),
        size(after),
        size(before)
    ))
}

async fn back_up(arguments: BackupArguments) -> anyhow::Result<()> {
    let client = arguments.client.client().await?;
    let request = Request::get("/store/backup").body(Body::empty())?;
    let answer = client.send(request).await.context("ask for a backup")?;
    let status = answer.status();
    let mut body = answer.into_body();
    if !status.is_success() {
        let said = body.collect().await.context("read the refusal")?.to_bytes();
        let said = serde_json::from_slice::<serde_json::Value>(&said).unwrap_or_default();
        let message = said.get("message").and_then(serde_json::Value::as_str);
        bail!(
            "the server refuses a backup: {}",
            message.unwrap_or(status.as_str())
        );
    }
    let path = &arguments.output;
    let writing = || format!("write {}", path.display());
    let mut file = Aside::create(path).with_context(writing)?;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.context("receive the backup: it is not complete, and the file is as it was")?;
        if let Ok(data) = frame.into_data() {
            file.write_all(&data).with_context(writing)?;
        }
    }
    file.flush().with_context(writing)?;
    let received = File::open(file.unfinished()).with_context(writing)?;
    let backup = BackupReader::new(received)?;
    let revision = backup.revision();
    let (records, bytes) = backup.check()?;
    file.finish().with_context(writing)?;
    tell(&format!(
        "{}: {records} records, {bytes} bytes, at revision {revision}",
        path.display()
    ))
}

fn told(holdings: &Holdings) -> String {
    format!(
        "{} records, {} bytes, at revision {}; watches resume from {}",
        holdings.records, holdings.bytes, holdings.revision, holdings.oldest
    )
}

/// A size as people read it.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_048_576 => (1024, "KiB"),
        _ => (1_048_576, "MiB"),
    };
    format!("{} {name}", bytes.div_ceil(unit))
}

fn tell(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_store::{Expect, Op, SledStorage, Storage};

    fn arguments(data_dir: &Path) -> FolderArguments {
        FolderArguments {
            data_dir: data_dir.to_owned(),
        }
    }

    #[test]
    fn a_restore_overwrites_nothing_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("backup");
        let page = coracle_store::Page {
            records: Vec::new(),
            revision: coracle_store::Revision(3),
            remaining: 0,
        };
        let bytes: Vec<u8> = coracle_store::backup::Backup::of(page).flatten().collect();
        std::fs::write(&backup, bytes).unwrap();
        let data = folder.path().join("data");
        let restore = || {
            restore(&RestoreArguments {
                folder: arguments(&data),
                backup: backup.clone(),
            })
        };
        restore().unwrap();
        check(&store_of(&arguments(&data))).unwrap();
        let refused = restore().unwrap_err().to_string();
        assert!(
            refused.contains("overwrites nothing") && refused.contains("--data-dir"),
            "{refused}"
        );
    }

    #[test]
    fn a_store_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store_folder = store_of(&arguments(folder.path()));
        let store = SledStorage::open(&store_folder, &SledOptions::default()).unwrap();
        let op = Op {
            expect: Expect::Any,
            ..Op::create("/a", "1")
        };
        futures_block(store.commit(vec![op])).unwrap();
        for refused in [check(&store_folder), compact(&store_folder)] {
            let refused = format!("{:#}", refused.unwrap_err());
            assert!(refused.contains("in use by another process"), "{refused}");
        }
        drop(store);
        check(&store_folder).unwrap();
        compact(&store_folder).unwrap();
        check(&store_folder).unwrap();
    }

    fn futures_block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }
}
