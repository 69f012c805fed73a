//! The logs of containers on disk: a directory per pod and container, a file per run, in the format of the CRI. Written in the background by one thread, so
//! that a container waits for the disk only when it writes faster than is allowed. [`read`] is the other side.

pub mod line;
pub mod read;

mod file;
mod writer;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

pub use self::file::LogFile;
use self::writer::Writer;
use crate::config::DiskLimits;

/// The smallest share of the disk that a log file gets, however many there are: enough to see what went wrong last.
const SMALLEST: u64 = 64 << 10;
/// Files that one container may have at most: the present run's and the one before, each with what was rotated away.
const FILES_PER_CONTAINER: u64 = 4;

/// Names the log of one run of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogId {
    /// The pod's directory, `namespace_name_uid`.
    pub pod: Arc<str>,
    /// The container.
    pub container: Arc<str>,
    /// The number of the run.
    pub run: u32,
}

/// The logs of the node.
#[derive(Debug)]
pub struct Logs {
    root: PathBuf,
    limits: DiskLimits,
    open: Mutex<HashMap<LogId, Arc<LogFile>>>,
    writer: Writer,
}

/// The name of a pod's directory.
#[must_use]
pub fn directory_of(namespace: &str, name: &str, uid: &str) -> Arc<str> {
    Arc::from(format!("{namespace}_{name}_{uid}"))
}

impl Logs {
    /// Logs below `root`, which belongs to the agent alone.
    ///
    /// # Errors
    /// When the directory or the thread cannot be made.
    pub fn open(root: PathBuf, limits: DiskLimits) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self {
            root,
            limits,
            open: Mutex::default(),
            writer: Writer::start()?,
        })
    }

    /// The log of a run that begins. Nothing is written before the container writes.
    #[must_use]
    pub fn begin(&self, id: &LogId) -> Arc<LogFile> {
        let mut open = self.open.lock();
        open.retain(|known, _| known.pod != id.pod || known.container != id.container);
        let share = self.limits.logs
            / FILES_PER_CONTAINER
            / u64::try_from(open.len() + 1).unwrap_or(u64::MAX);
        let limit = share.clamp(SMALLEST, self.limits.log_file.max(SMALLEST));
        let file = LogFile::new(self.path(id), limit, self.writer.queue());
        open.insert(id.clone(), Arc::clone(&file));
        file
    }

    /// The run has ended: what is left is written, and runs before the one before are forgotten.
    pub fn end(&self, id: &LogId) {
        if let Some(file) = self.of(id) {
            let older = (0..id.run.saturating_sub(1)).rev().take(2);
            let older = older.map(|run| self.path(&LogId { run, ..id.clone() }));
            file.close(older.collect());
        }
    }

    /// The log of a run of this agent's time, until the next run or the end of the pod.
    #[must_use]
    pub fn of(&self, id: &LogId) -> Option<Arc<LogFile>> {
        self.open.lock().get(id).cloned()
    }

    /// The pod is gone, and with it its logs. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, pod: &str) -> io::Result<()> {
        self.open.lock().retain(|id, _| &*id.pod != pod);
        remove(&self.root.join(pod))
    }

    /// Removes what pods that are no longer here left behind. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sweep(&self, is_known: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&is_known) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes what is left and ends the thread. Blocks.
    pub fn close(&self) {
        for file in self.open.lock().values() {
            file.close(Vec::new());
        }
        self.writer.close();
    }

    /// Where a run's log is.
    #[must_use]
    pub fn path(&self, id: &LogId) -> PathBuf {
        let directory = self.root.join(&*id.pod).join(&*id.container);
        directory.join(format!("{}.log", id.run))
    }
}

/// Where the part of a log is that was rotated away.
#[must_use]
fn rotated(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
