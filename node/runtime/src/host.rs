//! What guests may call: WASI 0.2 with nothing behind it that the container was not given. Files only below its mounts, the network only through
//! its pod's stack, output only into its logs, input only what the host gives.

pub mod http;
pub mod logs;
pub mod sockets;
pub mod stdin;

use std::sync::Arc;

use coracle_network::PodStack;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::{
    FsPerms, WasiCtx, WasiCtxView, WasiView,
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{WasiFilesystem, WasiFilesystemView as _},
    p2::bindings as wasi,
    random::WasiRandom,
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_io::bindings::wasi::io;

use self::{http::Hooks, logs::Log, sockets::Listeners, stdin::Input};
use crate::{
    memory::{Account, MemoryLimiter},
    spec::ContainerSpec,
};

/// The most random bytes in one call: a guest must not make the host work long in one.
const RANDOM_LIMIT: u64 = 64 << 10;
/// Header fields of one message, as they are in memory.
const FIELDS_LIMIT: usize = 128 << 10;

/// The state behind one instance's host calls.
pub struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
    pub(crate) limiter: MemoryLimiter,
    stack: Arc<PodStack>,
    listeners: Listeners,
}

impl Host {
    /// The state for a new instance of a container.
    ///
    /// # Errors
    /// When a mount can't be opened.
    pub(crate) fn new(
        spec: &ContainerSpec,
        account: &Arc<Account>,
        listeners: &Listeners,
    ) -> wasmtime::Result<Self> {
        let mut builder = WasiCtx::builder();
        builder
            .args(&spec.args)
            .envs(&spec.env)
            .stdout(Log::new(&spec.stdout, spec.is_terminal))
            .stderr(Log::new(&spec.stderr, spec.is_terminal))
            .max_random_size(RANDOM_LIMIT)
            // wasmtime-wasi's own sockets are not linked; were they, they would be allowed nothing.
            .allow_tcp(false)
            .allow_udp(false);
        if let Some(stdin) = &spec.stdin {
            builder.stdin(Input(Arc::clone(stdin)));
        }
        for mount in &spec.mounts {
            let perms = if mount.read_only {
                FsPerms::ReadOnly
            } else {
                FsPerms::ReadWrite
            };
            builder.preopened_dir(&mount.host_path, &mount.guest_path, perms)?;
        }
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_LIMIT);
        Ok(Self {
            wasi: builder.build(),
            http,
            hooks: Hooks::new(&spec.stack),
            table: ResourceTable::new(),
            limiter: MemoryLimiter::new(Arc::clone(account)),
            stack: Arc::clone(&spec.stack),
            listeners: listeners.clone(),
        })
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// Gives wasi:io its table.
struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

/// Everything a guest may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    io::error::add_to_linker::<Host, HasTable>(l, |host| &mut host.table)?;
    io::poll::add_to_linker::<Host, HasTable>(l, |host| &mut host.table)?;
    io::streams::add_to_linker::<Host, HasTable>(l, |host| &mut host.table)?;
    wasi::clocks::wall_clock::add_to_linker::<Host, WasiClocks>(l, Host::clocks)?;
    wasi::clocks::monotonic_clock::add_to_linker::<Host, WasiClocks>(l, Host::clocks)?;
    wasi::filesystem::preopens::add_to_linker::<Host, WasiFilesystem>(l, Host::filesystem)?;
    wasi::filesystem::types::add_to_linker::<Host, WasiFilesystem>(l, Host::filesystem)?;
    wasi::random::random::add_to_linker::<Host, WasiRandom>(l, |host| host.wasi.random())?;
    wasi::random::insecure::add_to_linker::<Host, WasiRandom>(l, |host| host.wasi.random())?;
    wasi::random::insecure_seed::add_to_linker::<Host, WasiRandom>(l, |host| host.wasi.random())?;
    wasi::cli::exit::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::environment::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::stdin::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::stdout::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::stderr::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::terminal_input::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::terminal_output::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::terminal_stdin::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::terminal_stdout::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasi::cli::terminal_stderr::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    sockets::add_to_linker(l)?;
    Ok(linker)
}
