//! Datagrams from outside: each caller's go to one pod, and what that pod sends back goes to the caller.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{OpenPort, Target};
use crate::{
    counters::Counters,
    error::NetError,
    flows::Flows,
    switch::{Outside, Switch},
};

/// The largest datagram.
const LARGEST: usize = 65_535;

/// An open port.
pub(super) struct Port {
    switch: Arc<Switch>,
    target: Arc<Mutex<Target>>,
    counters: Arc<Counters>,
    socket: UdpSocket,
    flows: Mutex<Flows>,
}

impl Port {
    pub(super) fn new(switch: &Arc<Switch>, open: &OpenPort, socket: UdpSocket) -> Arc<Self> {
        Arc::new(Self {
            switch: Arc::clone(switch),
            target: Arc::clone(&open.target),
            counters: Arc::clone(&open.counters),
            socket,
            flows: Mutex::default(),
        })
    }

    /// Carries datagrams in until `stop`.
    pub(super) async fn carry(self: Arc<Self>, stop: CancellationToken) {
        let mut buffer = vec![0; LARGEST];
        let outside: Arc<dyn Outside> = Arc::clone(&self) as _;
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => break,
                received = self.socket.recv_from(&mut buffer) => received,
            };
            let (size, peer) = match received {
                Ok(received) => received,
                // What the kernel tells of datagrams sent before, such as that their receiver is gone, is nobody's business here.
                Err(error) => {
                    tracing::debug!(%error, "receiving from outside");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let data = Bytes::copy_from_slice(buffer.get(..size).unwrap_or_default());
            self.counters.sent(size);
            let target = *self.target.lock();
            let sent = self
                .switch
                .send_from_outside(&self.flows, &outside, peer, target, data);
            if let Err(error) = sent {
                self.counters.refused();
                tracing::debug!(%peer, %error, "no pod took a datagram from outside");
            }
        }
        self.switch.forget_outside(&outside);
    }
}

impl Outside for Port {
    fn answer(
        &self,
        client: SocketAddr,
        seen: SocketAddr,
        backend: SocketAddr,
        data: &Bytes,
    ) -> Result<(), NetError> {
        let is_known = self.flows.lock().answer(seen, backend, Instant::now());
        if is_known.is_none() {
            return Err(NetError::RemoteUnreachable);
        }
        match self.socket.try_send_to(data, client) {
            Ok(size) => self.counters.received(size),
            // A datagram that the kernel does not take now is lost, as on any wire.
            Err(error) => {
                self.counters.dropped();
                tracing::debug!(%client, %error, "an answer to outside was lost");
            }
        }
        Ok(())
    }
}
