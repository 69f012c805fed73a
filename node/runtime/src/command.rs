//! Containers that are programs: one instance, run until it ends.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::{
    container::{EndGuard, Shared},
    engine::YIELD_FUEL,
    exit::Exit,
    host::Host,
    runtime::{Runtime, StartError},
};

/// What the host may allocate for one call of a guest.
pub(crate) const HOSTCALL_BYTES: usize = 16 << 20;

/// Starts the program.
pub(crate) fn start(runtime: &Arc<Runtime>, shared: &Arc<Shared>) -> Result<(), StartError> {
    let permit = Arc::clone(&runtime.room)
        .try_acquire_owned()
        .map_err(|_| StartError::Full)?;
    let pre = CommandPre::new(shared.spec.artifact.pre.clone())
        .map_err(|error| StartError::Spec(format!("{error:#}")))?;
    let store = store(runtime, shared).map_err(|error| StartError::Spec(format!("{error:#}")))?;
    let task = {
        let guard = EndGuard(Arc::clone(shared));
        async move {
            let shared = Arc::clone(&guard.0);
            tokio::select! {
                biased;
                () = shared.killed.cancelled() => {}
                exit = run(pre, store, &shared, permit) => shared.ended(exit),
            }
            drop(guard);
        }
    };
    shared
        .place
        .spawn(&shared.meter, shared.spec.cpu_weight_millis, task)
        .map_err(|_| StartError::Full)
}

/// A store for a new instance of a container, with its limits.
pub(crate) fn store(runtime: &Runtime, shared: &Shared) -> wasmtime::Result<Store<Host>> {
    let host = Host::new(&shared.spec, &shared.account, &shared.listeners)?;
    let mut store = Store::new(runtime.engine(), host);
    store.limiter(|host| &mut host.limiter);
    store.set_fuel(shared.fuel_left.load(Ordering::Relaxed))?;
    store.fuel_async_yield_interval(Some(YIELD_FUEL))?;
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    Ok(store)
}

async fn run(
    pre: CommandPre<Host>,
    mut store: Store<Host>,
    shared: &Shared,
    _permit: OwnedSemaphorePermit,
) -> Exit {
    let before = store.get_fuel().unwrap_or_default();
    let outcome = match pre.instantiate_async(&mut store).await {
        Ok(command) => command.wasi_cli_run().call_run(&mut store).await,
        Err(error) => Err(error),
    };
    let burnt = before.saturating_sub(store.get_fuel().unwrap_or_default());
    shared.meter.burnt(burnt);
    // What a command burnt its container does not have any more.
    let spent = |left: u64| Some(left.saturating_sub(burnt));
    // The update never declines.
    let _ = shared
        .fuel_left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent);
    match outcome {
        Ok(Ok(())) => Exit::Completed(0),
        Ok(Err(())) => Exit::Completed(1),
        Err(error) => Exit::of_error(&error, store.data().limiter.refused()),
    }
}
