//! What the tests share: a runtime, guests by name, a log in memory.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use coracle_network::{PodIdentity, PodStack, Switch, SwitchConfig};
use coracle_runtime::{
    Artifact, Container, ContainerSpec, Exit, LogSink, Reuse, Runtime, RuntimeConfig,
};
use parking_lot::Mutex;

/// No test waits longer for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Keeps what it is given, up to a bound; what comes after is dropped and counted.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Vec<u8>>);

impl LogSink for Memory {
    fn poll_ready(&self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn write(&self, bytes: Bytes) {
        let mut kept = self.0.lock();
        let room = (1_usize << 20).saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Memory {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

/// The runtime of the test process; its cache is shared with earlier runs, as a node's is.
pub(crate) fn runtime() -> Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    let make = || {
        let cache = target().join("test-cwasm");
        Runtime::new(RuntimeConfig {
            instances: 200,
            ..RuntimeConfig::new(cache)
        })
        .unwrap()
    };
    Arc::clone(RUNTIME.get_or_init(make))
}

fn target() -> PathBuf {
    // target/release/deps/this-test
    std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(3)
        .unwrap()
        .to_owned()
}

/// The bytes of a guest.
pub(crate) fn wasm(name: &str) -> Bytes {
    let path = target().join("guests").join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask guests`", path.display()))
        .into()
}

/// A guest ready to run.
pub(crate) async fn guest(name: &str) -> Arc<Artifact> {
    runtime().prepare(wasm(name)).await.unwrap()
}

/// A pod's network on a switch.
pub(crate) fn pod(switch: &Arc<Switch>, last: u8) -> Arc<PodStack> {
    let identity = PodIdentity {
        namespace: "default".into(),
        name: format!("pod-{last}"),
        uid: last.to_string(),
        ip: [10, 1, 0, last].into(),
        hostname: format!("pod-{last}"),
        subdomain: None,
    };
    switch.attach(identity).unwrap()
}

/// A container with its logs.
pub(crate) struct Running {
    pub(crate) container: Container,
    pub(crate) out: Arc<Memory>,
    pub(crate) err: Arc<Memory>,
    pub(crate) stack: Arc<PodStack>,
    /// Keeps a lone pod's switch.
    _switch: Option<Arc<Switch>>,
}

impl Running {
    pub(crate) async fn exit(&self) -> Exit {
        tokio::time::timeout(DEADLINE, self.container.wait())
            .await
            .expect("the container did not end")
    }
}

/// Starts a guest in a pod of its own.
pub(crate) async fn start(name: &str, adjust: impl FnOnce(&mut ContainerSpec)) -> Running {
    let switch = Switch::new(SwitchConfig::default());
    let stack = pod(&switch, 1);
    let mut running = start_in(&stack, name, adjust).await;
    running._switch = Some(switch);
    running
}

/// Starts a guest in a pod.
pub(crate) async fn start_in(
    stack: &Arc<PodStack>,
    name: &str,
    adjust: impl FnOnce(&mut ContainerSpec),
) -> Running {
    let (out, err) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
    let mut spec = ContainerSpec {
        id: name.to_owned(),
        artifact: guest(name).await,
        args: vec![name.to_owned()],
        env: Vec::new(),
        mounts: Vec::new(),
        cpu_limit_millis: None,
        cpu_weight_millis: 100,
        memory_limit: Some(64 << 20),
        fuel_budget: None,
        stdin: None,
        is_terminal: false,
        stdout: Arc::clone(&out) as Arc<dyn LogSink>,
        stderr: Arc::clone(&err) as Arc<dyn LogSink>,
        stack: Arc::clone(stack),
        http_port: Some(8080),
        http_reuse: Reuse::default(),
    };
    adjust(&mut spec);
    let place = runtime().place();
    let container = runtime().start(spec, &place).unwrap();
    Running {
        container,
        out,
        err,
        stack: Arc::clone(stack),
        _switch: None,
    }
}

/// Waits until a value is there; fails with what was seen last.
pub(crate) async fn eventually<T: std::fmt::Debug>(
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let give_up = tokio::time::Instant::now() + DEADLINE;
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) if tokio::time::Instant::now() >= give_up => panic!("{what}: {last}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
