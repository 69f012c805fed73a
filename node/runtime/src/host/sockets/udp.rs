//! UDP sockets: the states that `wasi:sockets/udp` prescribes, over the pod's stack.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use coracle_network::{NetError, UdpSocket};
use wasmtime::{component::Resource, format_err};
use wasmtime_wasi_io::{
    async_trait,
    poll::{DynPollable, Pollable, subscribe},
};

use super::{
    NetView,
    network::{Network, SocketError, SocketResult, from_guest, is_of_family, is_target, to_guest},
    options,
    wit::{
        network::{ErrorCode, IpAddressFamily, IpSocketAddress},
        udp::{
            Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket,
            IncomingDatagram, OutgoingDatagram,
        },
        udp_create_socket,
    },
};

/// Datagrams in one call, either way.
const DATAGRAMS: usize = 16;
/// Bytes received in one call, give or take one datagram: what the host copies into the guest at a time.
const CHUNK: usize = 64 << 10;

/// Where a socket is in its life.
enum State {
    Fresh,
    /// `start-bind` was called.
    Binding(Arc<UdpSocket>),
    Bound(Arc<UdpSocket>),
}

/// A socket.
pub struct Udp {
    state: State,
    family: IpAddressFamily,
    hop_limit: u8,
    receive_buffer: u64,
    send_buffer: u64,
}

/// What the socket receives.
pub struct IncomingDatagrams(Arc<UdpSocket>);

/// What the socket sends.
pub struct OutgoingDatagrams {
    socket: Arc<UdpSocket>,
    family: IpAddressFamily,
    /// As many as `check-send` allowed.
    permits: usize,
}

impl Udp {
    fn bound(&self) -> SocketResult<&Arc<UdpSocket>> {
        match &self.state {
            State::Bound(socket) => Ok(socket),
            State::Fresh | State::Binding(_) => Err(ErrorCode::InvalidState.into()),
        }
    }

    /// Makes the network's bound that of the option; the option is what was asked for, within Linux' bounds.
    fn fit_receive_buffer(&self) {
        if let State::Binding(socket) | State::Bound(socket) = &self.state {
            let bytes = usize::try_from(self.receive_buffer).unwrap_or(usize::MAX);
            socket.set_receive_buffer(bytes);
        }
    }
}

#[async_trait]
impl Pollable for Udp {
    /// Nothing that a socket does waits; its streams do.
    async fn ready(&mut self) {}
}

#[async_trait]
impl Pollable for IncomingDatagrams {
    async fn ready(&mut self) {
        self.0.readable().await;
    }
}

#[async_trait]
impl Pollable for OutgoingDatagrams {
    /// There is always room: what finds none on its way is lost.
    async fn ready(&mut self) {}
}

impl udp_create_socket::Host for NetView<'_> {
    fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Udp>> {
        let fresh = Udp {
            state: State::Fresh,
            family,
            hop_limit: 64,
            receive_buffer: coracle_network::udp::RECEIVE_BUFFER as u64,
            send_buffer: coracle_network::udp::RECEIVE_BUFFER as u64,
        };
        Ok(self.table.push(fresh)?)
    }
}

impl NetView<'_> {
    fn udp(&mut self, socket: &Resource<Udp>) -> SocketResult<&mut Udp> {
        Ok(self.table.get_mut(socket)?)
    }
}

impl Host for NetView<'_> {}

impl HostUdpSocket for NetView<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<Udp>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> SocketResult<()> {
        self.table.get(&network)?;
        let address = from_guest(address);
        let stack = Arc::clone(self.stack);
        let socket = self.udp(&socket)?;
        match socket.state {
            State::Fresh => {}
            State::Binding(_) => return Err(ErrorCode::ConcurrencyConflict.into()),
            State::Bound(_) => return Err(ErrorCode::InvalidState.into()),
        }
        if !is_of_family(address.ip(), socket.family) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        socket.state = State::Binding(Arc::new(stack.udp_bind(address)?));
        socket.fit_receive_buffer();
        Ok(())
    }

    fn finish_bind(&mut self, socket: Resource<Udp>) -> SocketResult<()> {
        let socket = self.udp(&socket)?;
        match std::mem::replace(&mut socket.state, State::Fresh) {
            State::Binding(bound) => {
                socket.state = State::Bound(bound);
                Ok(())
            }
            other => {
                socket.state = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn stream(
        &mut self,
        socket: Resource<Udp>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagrams>, Resource<OutgoingDatagrams>)> {
        let is_stream = |child: &(dyn std::any::Any + Send)| {
            child.is::<IncomingDatagrams>() || child.is::<OutgoingDatagrams>()
        };
        let has_streams = self.table.iter_children(&socket)?.any(is_stream);
        if has_streams {
            let trap = format_err!("the socket's earlier streams were not dropped");
            return Err(SocketError::Trap(trap));
        }
        let udp = self.udp(&socket)?;
        let (bound, family) = (Arc::clone(udp.bound()?), udp.family);
        let remote = remote.map(from_guest);
        if remote.is_some_and(|remote| !is_target(remote, family)) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        bound.connect(remote)?;
        let incoming = IncomingDatagrams(Arc::clone(&bound));
        let outgoing = OutgoingDatagrams {
            socket: bound,
            family,
            permits: 0,
        };
        Ok((
            self.table.push_child(incoming, &socket)?,
            self.table.push_child(outgoing, &socket)?,
        ))
    }

    fn local_address(&mut self, socket: Resource<Udp>) -> SocketResult<IpSocketAddress> {
        Ok(to_guest(self.udp(&socket)?.bound()?.local_addr()))
    }

    fn remote_address(&mut self, socket: Resource<Udp>) -> SocketResult<IpSocketAddress> {
        let peer = self.udp(&socket)?.bound()?.peer_addr();
        Ok(to_guest(peer.ok_or(ErrorCode::InvalidState)?))
    }

    fn address_family(&mut self, socket: Resource<Udp>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family)
    }

    fn unicast_hop_limit(&mut self, socket: Resource<Udp>) -> SocketResult<u8> {
        Ok(self.udp(&socket)?.hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<Udp>, value: u8) -> SocketResult<()> {
        self.udp(&socket)?.hop_limit = options::hop_limit(value)?;
        Ok(())
    }

    fn receive_buffer_size(&mut self, socket: Resource<Udp>) -> SocketResult<u64> {
        Ok(self.udp(&socket)?.receive_buffer)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Udp>, value: u64) -> SocketResult<()> {
        let socket = self.udp(&socket)?;
        socket.receive_buffer = options::datagram_buffer(value)?;
        socket.fit_receive_buffer();
        Ok(())
    }

    fn send_buffer_size(&mut self, socket: Resource<Udp>) -> SocketResult<u64> {
        Ok(self.udp(&socket)?.send_buffer)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Udp>, value: u64) -> SocketResult<()> {
        self.udp(&socket)?.send_buffer = options::datagram_buffer(value)?;
        Ok(())
    }

    fn subscribe(&mut self, socket: Resource<Udp>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn drop(&mut self, socket: Resource<Udp>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

impl HostIncomingDatagramStream for NetView<'_> {
    fn receive(
        &mut self,
        stream: Resource<IncomingDatagrams>,
        most: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        let socket = &self.table.get(&stream)?.0;
        let most = usize::try_from(most).unwrap_or(DATAGRAMS).min(DATAGRAMS);
        let (mut received, mut bytes) = (Vec::new(), 0);
        while received.len() < most && bytes < CHUNK {
            match socket.try_recv() {
                Ok(datagram) => {
                    bytes += datagram.data.len();
                    received.push(IncomingDatagram {
                        data: datagram.data.into(),
                        remote_address: to_guest(datagram.source),
                    });
                }
                Err(NetError::WouldBlock) => break,
                // What was received is not lost over it.
                Err(_) if !received.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(received)
    }

    fn subscribe(
        &mut self,
        stream: Resource<IncomingDatagrams>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<IncomingDatagrams>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl HostOutgoingDatagramStream for NetView<'_> {
    fn check_send(&mut self, stream: Resource<OutgoingDatagrams>) -> SocketResult<u64> {
        self.table.get_mut(&stream)?.permits = DATAGRAMS;
        Ok(DATAGRAMS as u64)
    }

    fn send(
        &mut self,
        stream: Resource<OutgoingDatagrams>,
        datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        let stream = self.table.get_mut(&stream)?;
        if datagrams.len() > stream.permits {
            let trap = format_err!("send of more datagrams than check-send allows");
            return Err(SocketError::Trap(trap));
        }
        if datagrams.is_empty() {
            return Ok(0);
        }
        stream.permits = 0;
        let mut sent = 0;
        for datagram in datagrams {
            let target = datagram.remote_address.map(from_guest);
            match stream.send(datagram.data.into(), target) {
                Ok(()) => sent += 1,
                // As the specification has it: once one was sent, the error of another is not told.
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn subscribe(
        &mut self,
        stream: Resource<OutgoingDatagrams>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<OutgoingDatagrams>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl OutgoingDatagrams {
    fn send(&self, data: Bytes, target: Option<SocketAddr>) -> SocketResult<()> {
        if target.is_some_and(|target| !is_target(target, self.family)) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        Ok(self.socket.send(data, target)?)
    }
}
