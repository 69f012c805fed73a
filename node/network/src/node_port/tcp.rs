//! Connections from outside: accepted from the kernel, and spliced to a pod.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream as KernelStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{OpenPort, Target};
use crate::{counters::Counters, switch::Switch};

/// Connections per port at a time. Further ones wait in the kernel's backlog.
const CONNECTIONS_LIMIT: usize = 4096;
/// Bytes buffered per direction between kernel and pipe.
const BUFFER: usize = 32 << 10;

/// What a listener's task needs.
#[derive(Clone)]
pub(super) struct Port {
    switch: Arc<Switch>,
    target: Arc<Mutex<Target>>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    tasks: TaskTracker,
    room: Arc<Semaphore>,
}

impl Port {
    pub(super) fn new(switch: &Arc<Switch>, open: &OpenPort, tasks: &TaskTracker) -> Self {
        Self {
            switch: Arc::clone(switch),
            target: Arc::clone(&open.target),
            counters: Arc::clone(&open.counters),
            stop: open.stop.clone(),
            tasks: tasks.clone(),
            room: Arc::new(Semaphore::new(CONNECTIONS_LIMIT)),
        }
    }

    pub(super) async fn accept(self, listener: TcpListener) {
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let port = self.clone();
                    self.tasks.spawn(async move {
                        port.carry(stream, peer).await;
                        drop(permit);
                    });
                }
                // The caller went away before it was accepted, or the process is out of descriptors: neither ends the port.
                Err(error) => {
                    tracing::warn!(%error, "a connection to a node port was not accepted");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn carry(&self, mut outside: KernelStream, peer: SocketAddr) {
        let target = *self.target.lock();
        let source = self.switch.seen_from_inside(peer, target);
        let connected = match target {
            Target::Service(key) => self.switch.connect_to_service(source, key).await,
            Target::Pod(pod) => self.switch.connect_to_pod(source, pod).await,
        };
        let mut inside = match connected {
            Ok(stream) => stream.counted(&self.counters),
            Err(error) => {
                self.counters.refused();
                tracing::debug!(%peer, %error, "no pod took a connection from outside");
                // Closed with a reset, as a refusal comes too late.
                if let Err(error) = outside.set_zero_linger() {
                    tracing::debug!(%error, "linger not set");
                }
                return;
            }
        };
        self.counters.connected();
        if let Err(error) = outside.set_nodelay(true) {
            tracing::debug!(%error, "nodelay not set");
        }
        // An error is one side going away without a goodbye, which the other is to learn.
        if let Err(error) =
            tokio::io::copy_bidirectional_with_sizes(&mut outside, &mut inside, BUFFER, BUFFER)
                .await
        {
            tracing::debug!(%peer, %error, "a connection from outside broke");
            inside.reset();
            if let Err(error) = outside.set_zero_linger() {
                tracing::debug!(%error, "linger not set");
            }
        }
    }
}
