//! A running container: how it is told to stop, and how one learns that it has ended.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    artifact::ContainerKind,
    command,
    executor::Place,
    exit::Exit,
    host::{sockets::Listeners, stdin::Stdin},
    http_server,
    memory::Account,
    meter::{Meter, Usage},
    runtime::{Runtime, StartError},
    spec::{CommandSpec, ContainerSpec},
};

/// What the instances of a container share.
pub(crate) struct Shared {
    pub(crate) spec: ContainerSpec,
    pub(crate) meter: Arc<Meter>,
    pub(crate) account: Arc<Account>,
    pub(crate) listeners: Listeners,
    pub(crate) place: Place,
    /// The container is to end by itself.
    pub(crate) stopping: CancellationToken,
    /// The container ends now.
    pub(crate) killed: CancellationToken,
    /// Fuel left of the budget.
    pub(crate) fuel_left: Arc<AtomicU64>,
    exit: watch::Sender<Option<Exit>>,
}

impl Shared {
    fn new(spec: ContainerSpec, place: &Place) -> Arc<Self> {
        Arc::new(Self {
            meter: Meter::new(spec.cpu_limit_millis),
            account: Account::new(spec.memory_limit),
            listeners: Listeners::default(),
            place: place.clone(),
            stopping: CancellationToken::new(),
            killed: CancellationToken::new(),
            fuel_left: Arc::new(AtomicU64::new(spec.fuel_budget.unwrap_or(u64::MAX))),
            exit: watch::Sender::new(None),
            spec,
        })
    }

    /// Records the end. The first one told counts.
    pub(crate) fn ended(&self, exit: Exit) {
        self.exit.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(exit);
            }
            first
        });
        // Commands that were run in the container end with it.
        self.killed.cancel();
    }

    /// What a command run in this container shares with it: all but its program and its own end.
    fn for_command(&self, command: CommandSpec) -> Arc<Self> {
        let mut spec = self.spec.clone();
        spec.id = format!("{} ({})", spec.id, command.args.join(" "));
        spec.env.extend(command.env);
        let spec = ContainerSpec {
            artifact: command.artifact,
            args: command.args,
            stdin: command.stdin,
            is_terminal: command.is_terminal,
            stdout: command.stdout,
            stderr: command.stderr,
            http_port: None,
            ..spec
        };
        Arc::new(Self {
            meter: Arc::clone(&self.meter),
            account: Arc::clone(&self.account),
            listeners: Listeners::default(),
            place: self.place.clone(),
            stopping: CancellationToken::new(),
            killed: self.killed.child_token(),
            fuel_left: Arc::clone(&self.fuel_left),
            exit: watch::Sender::new(None),
            spec,
        })
    }
}

/// Tells the end even when the task that should is dropped, by a panic or with its thread.
pub(crate) struct EndGuard(pub(crate) Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let exit = if self.0.killed.is_cancelled() {
            Exit::Stopped
        } else {
            Exit::HostFault("the container's task was lost".to_owned())
        };
        self.0.ended(exit);
    }
}

/// A container. Dropping the handle kills it.
pub struct Container {
    shared: Arc<Shared>,
    started_at: SystemTime,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container")
            .field("id", &self.shared.spec.id)
            .finish_non_exhaustive()
    }
}

impl Container {
    pub(crate) fn command(
        runtime: &Arc<Runtime>,
        spec: ContainerSpec,
        place: &Place,
    ) -> Result<Self, StartError> {
        let shared = Shared::new(spec, place);
        command::start(runtime, &shared)?;
        Ok(Self {
            shared,
            started_at: SystemTime::now(),
        })
    }

    pub(crate) fn http(
        runtime: &Arc<Runtime>,
        spec: ContainerSpec,
        place: &Place,
    ) -> Result<Self, StartError> {
        let shared = Shared::new(spec, place);
        http_server::start(runtime, &shared)?;
        Ok(Self {
            shared,
            started_at: SystemTime::now(),
        })
    }

    /// Runs a command in the container: with its files, network and environment, charged to it, and ended with it. Dropping the handle kills the command
    /// alone.
    ///
    /// # Errors
    /// [`StartError::Spec`] when the container has ended or `command` is no program, [`StartError::Full`].
    pub fn run(&self, runtime: &Arc<Runtime>, command: CommandSpec) -> Result<Self, StartError> {
        if self.exit().is_some() {
            let ended = "the container has ended".to_owned();
            return Err(StartError::Spec(ended));
        }
        if command.artifact.kind != ContainerKind::Command {
            let no_program = "the module is not a program that can be run".to_owned();
            return Err(StartError::Spec(no_program));
        }
        let shared = self.shared.for_command(command);
        command::start(runtime, &shared)?;
        Ok(Self {
            shared,
            started_at: SystemTime::now(),
        })
    }

    /// What it reads from standard input, where it has one.
    #[must_use]
    pub fn stdin(&self) -> Option<&Arc<Stdin>> {
        self.shared.spec.stdin.as_ref()
    }

    /// When it was started.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// Waits until it has ended.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.shared.exit.subscribe();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Stopped),
            Err(_) => Exit::HostFault("the container's end was never told".to_owned()),
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.shared.exit.borrow().clone()
    }

    /// Asks it to end: its listeners take no further connections and accepting fails; requests under way are finished. After `grace` it is ended.
    /// Returns when it has ended.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.shared.stopping.cancel();
        self.shared.listeners.drain();
        if let Ok(exit) = tokio::time::timeout(grace, self.wait()).await {
            return exit;
        }
        self.kill();
        self.wait().await
    }

    /// Ends it now.
    pub fn kill(&self) {
        self.shared.stopping.cancel();
        self.shared.killed.cancel();
    }

    /// What it has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shared.meter.usage(&self.shared.account)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
    }
}
