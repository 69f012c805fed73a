//! The instances of an HTTP handler: made on demand up to a bound, kept for further requests as the spec says, thrown away after a failure.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use crate::{
    command,
    container::Shared,
    exit::Exit,
    host::Host,
    runtime::{Runtime, StartError},
    spec::{LogSink, Reuse},
};

/// Requests handled at a time per container. Further ones wait: an instance each of a flood of requests would take the node's memory.
const CONCURRENCY: usize = 256;

/// An instance lent to one request.
pub(super) struct Checkout {
    pub(super) store: Store<Host>,
    pub(super) proxy: Proxy,
    served: u32,
    fuel_before: u64,
    /// Room in the process for the instance.
    _room: OwnedSemaphorePermit,
    /// The request's turn; given back with the request.
    turn: Option<OwnedSemaphorePermit>,
}

/// No instance could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckoutError {
    #[error("the node runs as many instances as it can")]
    Full,
    #[error("the fuel budget is spent")]
    OutOfFuel,
    #[error("{0}")]
    Instantiate(String),
}

/// The pool of one container.
pub(super) struct Pool {
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    pre: ProxyPre<Host>,
    idle: Mutex<Vec<(Checkout, Instant)>>,
    turns: Arc<Semaphore>,
    /// What ends the container as a whole: memory or fuel.
    fatal: watch::Sender<Option<Exit>>,
}

impl Pool {
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        shared: &Arc<Shared>,
    ) -> Result<Arc<Self>, StartError> {
        let pre = ProxyPre::new(shared.spec.artifact.pre.clone())
            .map_err(|error| StartError::Spec(format!("{error:#}")))?;
        Ok(Arc::new(Self {
            runtime: Arc::clone(runtime),
            shared: Arc::clone(shared),
            pre,
            idle: Mutex::default(),
            turns: Arc::new(Semaphore::new(CONCURRENCY)),
            fatal: watch::Sender::new(None),
        }))
    }

    pub(super) fn id(&self) -> &str {
        &self.shared.spec.id
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits for what ends the container.
    pub(super) async fn fatal(&self) -> Exit {
        let mut fatal = self.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Stopped),
            Err(_) => Exit::Stopped,
        }
    }

    /// An instance for one request.
    pub(super) async fn checkout(&self) -> Result<Checkout, CheckoutError> {
        // The semaphore is never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        if self.shared.fuel_left.load(Ordering::Relaxed) == 0 {
            return Err(CheckoutError::OutOfFuel);
        }
        if let Some(mut kept) = self.take_idle() {
            kept.turn = turn;
            return Ok(kept);
        }
        let room = Arc::clone(&self.runtime.room)
            .try_acquire_owned()
            .map_err(|_| CheckoutError::Full)?;
        let make = |error: wasmtime::Error| CheckoutError::Instantiate(format!("{error:#}"));
        let mut store = command::store(&self.runtime, &self.shared).map_err(make)?;
        let fuel_before = store.get_fuel().unwrap_or_default();
        match self.pre.instantiate_async(&mut store).await {
            Ok(proxy) => Ok(Checkout {
                store,
                proxy,
                served: 0,
                fuel_before,
                _room: room,
                turn,
            }),
            Err(error) => {
                self.note_failure(&error, store.data().limiter.refused());
                Err(make(error))
            }
        }
    }

    fn take_idle(&self) -> Option<Checkout> {
        let Reuse::Pooled { idle: limit, .. } = self.shared.spec.http_reuse else {
            return None;
        };
        let mut idle = self.idle.lock();
        // The one used last is warm; those unused for too long are at the front.
        let (kept, since) = idle.pop()?;
        let expired = idle
            .iter()
            .take_while(|(_, since)| since.elapsed() > limit)
            .count();
        let expired: Vec<_> = idle.drain(..expired).collect();
        drop(idle);
        drop(expired);
        (since.elapsed() <= limit).then_some(kept)
    }

    /// Takes an instance back after a request that went well.
    pub(super) fn give_back(&self, mut checkout: Checkout) {
        self.settle(&mut checkout);
        checkout.turn = None;
        checkout.served += 1;
        if let Reuse::Pooled { max_requests, .. } = self.shared.spec.http_reuse
            && checkout.served < max_requests
            && !self.shared.stopping.is_cancelled()
        {
            self.idle.lock().push((checkout, Instant::now()));
        }
    }

    /// Throws an instance away after a request that did not.
    pub(super) fn discard(&self, mut checkout: Checkout, error: &wasmtime::Error) {
        self.settle(&mut checkout);
        self.note_failure(error, checkout.store.data().limiter.refused());
    }

    /// Accounts for the fuel a request burnt, and lets the next one of this instance have what is left.
    fn settle(&self, checkout: &mut Checkout) {
        let after = checkout.store.get_fuel().unwrap_or_default();
        let burnt = checkout.fuel_before.saturating_sub(after);
        self.shared.meter.burnt(burnt);
        let left = if self.shared.spec.fuel_budget.is_some() {
            let take = |left: u64| Some(left.saturating_sub(burnt));
            // The update never declines.
            self.shared
                .fuel_left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .unwrap_or_default()
                .saturating_sub(burnt)
        } else {
            u64::MAX
        };
        if let Err(error) = checkout.store.set_fuel(left) {
            tracing::error!(%error, "fuel was not set");
        }
        checkout.fuel_before = left;
    }

    /// A failed request ends itself, but a container whose memory or fuel is out ends as a whole, as a program would.
    fn note_failure(&self, error: &wasmtime::Error, refused_memory: bool) {
        let exit = Exit::of_error(error, refused_memory);
        let line = format!("request failed: {exit}\n");
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let log: &Arc<dyn LogSink> = &self.shared.spec.stderr;
        if log.poll_ready(&mut context).is_ready() {
            log.write(line.into());
        }
        if matches!(exit, Exit::OutOfMemory | Exit::OutOfFuel) {
            self.fatal.send_replace(Some(exit));
        }
    }
}
