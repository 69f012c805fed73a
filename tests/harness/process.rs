//! A `coracle` command that runs on, as a process of its own: started, killed without warning, asked to end.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::wait::eventually;

/// A running command. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    folder: PathBuf,
    arguments: Vec<String>,
    announces: &'static str,
    child: Option<Child>,
}

impl Process {
    /// Starts `coracle` with arguments and waits for the line of its output that begins with `announces`.
    ///
    /// # Panics
    /// When it ends before.
    #[must_use]
    pub fn start(arguments: Vec<String>, announces: &'static str) -> Self {
        Self::start_in(Path::new("."), arguments, announces)
    }

    /// The same in a folder.
    ///
    /// # Panics
    /// When it ends before.
    #[must_use]
    pub fn start_in(folder: &Path, arguments: Vec<String>, announces: &'static str) -> Self {
        let mut process = Self {
            folder: folder.to_owned(),
            arguments,
            announces,
            child: None,
        };
        process.run();
        process
    }

    fn run(&mut self) {
        let mut child = Command::new(program())
            .current_dir(&self.folder)
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.any(|line| line.unwrap().starts_with(self.announces));
        self.child = Some(child);
        assert!(told, "coracle ended before it was ready");
        // Nobody reads further; a full pipe must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
    }

    /// Ends it without warning (SIGKILL) and starts it again as it was.
    pub fn kill_and_start(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.run();
    }

    /// Asks it to end (SIGINT) and waits until it has. Says whether it exited with 0.
    #[must_use]
    pub fn interrupt(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        eventually("it ends", || child.try_wait().unwrap()).success()
    }

    /// Its process number.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The command, built beside the tests.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // Tests lie in a folder beside the programs, benches with them.
    let beside = own.ancestors().skip(1).take(2);
    let mut programs = beside.map(|folder| folder.join("coracle"));
    programs
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "{} needs the coracle command beside it: cargo build --release --workspace --bins",
                own.display()
            )
        })
}
