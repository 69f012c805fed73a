//! Datagrams between pods, to Services, and from outside and back.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Switch, no_way};
use crate::{
    error::NetError,
    flows::Flows,
    node_port::Target,
    service::Protocol,
    topology::Backends,
    vip::{Vip, VipKey},
};

/// Carries the answers of pods to callers outside.
pub(crate) trait Outside: Send + Sync {
    /// Sends `data` from `backend` to `client`, which the pod sees as `seen`.
    fn answer(
        &self,
        client: SocketAddr,
        seen: SocketAddr,
        backend: SocketAddr,
        data: &Bytes,
    ) -> Result<(), NetError>;
}

/// Callers from outside: by their address as the pod sees it, and the pod's.
pub(super) type Callers = HashMap<(SocketAddr, SocketAddr), Caller>;

/// A caller from outside.
pub(super) struct Caller {
    address: SocketAddr,
    via: Arc<dyn Outside>,
}

/// A client's address and the Service's that it sends to.
type Flow = (SocketAddr, SocketAddr);

impl Switch {
    /// Sends a datagram to a Service, to a pod of this node or another, or refuses. `flows` are those of the sender.
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody takes it, `AccessDenied`, `RemoteUnreachable`.
    pub(crate) fn send_datagram(
        &self,
        flows: &Mutex<Flows>,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    ) -> Result<(), NetError> {
        let key = VipKey {
            ip: target.ip(),
            port: target.port(),
            protocol: Protocol::Udp,
        };
        let vip = self.table.read().get(&key).cloned();
        if self.answers_dns(target, vip.as_deref()) {
            return match self.consent_to_datagram(source, target) {
                Some(consent) => {
                    consent?;
                    self.answer_datagram(source, target, &data)
                }
                None => Ok(()),
            };
        }
        match vip {
            Some(vip) => self.send_to_vip(flows, source, key, &vip, &vip.inside, data),
            None => {
                flows.lock().direct(source, target);
                self.send_to_pod(source, target, data)
            }
        }
    }

    fn send_to_vip(
        &self,
        flows: &Mutex<Flows>,
        source: SocketAddr,
        key: VipKey,
        vip: &Vip,
        backends: &Backends,
        data: Bytes,
    ) -> Result<(), NetError> {
        if backends.is_elsewhere {
            return Ok(());
        }
        let (backend, _) = self.choose(flows, source, key, vip, backends)?;
        let sent = self.send_to_pod(source, backend, data);
        if sent.is_err() {
            flows.lock().forget(source, key);
        }
        sent
    }

    /// The pod that a flow of datagrams goes to, and which flows were forgotten because it is a new one.
    fn choose(
        &self,
        flows: &Mutex<Flows>,
        source: SocketAddr,
        key: VipKey,
        vip: &Vip,
        backends: &Backends,
    ) -> Result<(SocketAddr, Option<Vec<Flow>>), NetError> {
        let now = Instant::now();
        let is_backend = |address: &SocketAddr| backends.has(address);
        if let Some(known) = flows.lock().backend(source, key, is_backend, now) {
            return Ok((known, None));
        }
        let balancer = self.balancer(key);
        let (addresses, client) = (&backends.addresses, source.ip());
        let picked = balancer
            .lock()
            .pick(addresses, &[], client, vip.affinity, now);
        let backend = picked.ok_or(NetError::ConnectionRefused)?;
        let gone = flows.lock().begin(source, key, backend, now);
        Ok((backend, Some(gone)))
    }

    /// Sends a datagram of a caller from outside, who is answered through `via`. `flows` are those of the port.
    pub(crate) fn send_from_outside(
        &self,
        flows: &Mutex<Flows>,
        via: &Arc<dyn Outside>,
        client: SocketAddr,
        target: Target,
        data: Bytes,
    ) -> Result<(), NetError> {
        let seen = self.seen_from_inside(client, target);
        let (key, backend, gone) = match target {
            Target::Service(key) => {
                let vip = self.table.read().get(&key).cloned();
                let vip = vip.ok_or(NetError::ConnectionRefused)?;
                if vip.outside.is_elsewhere {
                    return Ok(());
                }
                let (backend, gone) = self.choose(flows, seen, key, &vip, &vip.outside)?;
                (key, backend, gone)
            }
            Target::Pod(pod) => {
                let key = VipKey {
                    ip: pod.ip(),
                    port: pod.port(),
                    protocol: Protocol::Udp,
                };
                let now = Instant::now();
                let mut flows = flows.lock();
                let known = flows.backend(seen, key, |address| *address == pod, now);
                let gone = known.is_none().then(|| flows.begin(seen, key, pod, now));
                (key, pod, gone)
            }
        };
        if let Some(gone) = gone {
            let mut outside = self.outside.lock();
            for pair in gone {
                outside.remove(&pair);
            }
            let caller = Caller {
                address: client,
                via: Arc::clone(via),
            };
            outside.insert((seen, backend), caller);
        }
        let sent = self.send_to_pod(seen, backend, data);
        if sent.is_err() {
            flows.lock().forget(seen, key);
            self.outside.lock().remove(&(seen, backend));
        }
        sent
    }

    /// Nobody can be answered through `via` any more.
    pub(crate) fn forget_outside(&self, via: &Arc<dyn Outside>) {
        self.outside
            .lock()
            .retain(|_, caller| !Arc::ptr_eq(&caller.via, via));
    }

    /// The address of a caller from outside as pods see it: its own, unless a pod could not answer there, being one of its own loopback or of another
    /// family. Then it is the node's.
    pub(crate) fn seen_from_inside(&self, client: SocketAddr, target: Target) -> SocketAddr {
        let ip = match target {
            Target::Service(key) => key.ip,
            Target::Pod(pod) => pod.ip(),
        };
        if client.ip().is_loopback() || client.is_ipv4() != ip.is_ipv4() {
            SocketAddr::new(self.config.host_ip, client.port())
        } else {
            client
        }
    }

    fn send_to_pod(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    ) -> Result<(), NetError> {
        match self.consent_to_datagram(source, target) {
            Some(consent) => consent?,
            None => {
                self.ask_first(source, target, data, Self::pass);
                return Ok(());
            }
        }
        self.pass(source, target, data)
    }

    /// Delivers what comes from another node: to a pod of this one, or to a caller from outside that came in here.
    pub(crate) fn deliver_locally(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    ) -> Result<(), NetError> {
        match self.consent_to_datagram(source, target) {
            Some(consent) => consent?,
            None => {
                self.ask_first(source, target, data, Self::arrive);
                return Ok(());
            }
        }
        self.arrive(source, target, data)
    }

    fn pass(&self, source: SocketAddr, target: SocketAddr, data: Bytes) -> Result<(), NetError> {
        match self.arrive(source, target, data.clone()) {
            Err(NetError::RemoteUnreachable) => {}
            arrived => return arrived,
        }
        let dialer = self.dialer.read().clone();
        let sent = dialer.and_then(|dialer| dialer.send(source, target, data));
        sent.unwrap_or_else(|| Err(no_way(source, target)))
    }

    pub(crate) fn arrive(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    ) -> Result<(), NetError> {
        if let Some(stack) = self.stack(target.ip()) {
            return stack.receive_datagram(source, target, data);
        }
        let outside = self.outside.lock();
        let caller = outside.get(&(target, source));
        let Some(Caller { address, via }) = caller else {
            return Err(NetError::RemoteUnreachable);
        };
        let (address, via) = (*address, Arc::clone(via));
        drop(outside);
        via.answer(address, target, source, &data)
    }

    /// Asks another node about its pod, and goes on with the datagram then. Few wait for that at a time; others are lost.
    fn ask_first(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
        go_on: fn(&Self, SocketAddr, SocketAddr, Bytes) -> Result<(), NetError>,
    ) {
        let Some(switch) = self.this.upgrade() else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.asking).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let learnt = switch.learn(source.ip(), target.ip()).await;
            let passed = learnt.and_then(|()| {
                let consent = switch.consent_to_datagram(source, target);
                consent.unwrap_or(Err(NetError::RemoteUnreachable))?;
                go_on(&switch, source, target, data)
            });
            if let Err(error) = passed {
                tracing::trace!(%source, %target, %error, "a datagram was lost");
            }
            drop(permit);
        });
    }
}
