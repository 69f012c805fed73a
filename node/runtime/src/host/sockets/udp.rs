//! UDP: not there yet. A socket can't be created, which programs are told with the error for it; nothing else can be reached then.

use wasmtime::component::Resource;
use wasmtime_wasi_io::poll::DynPollable;

use super::{
    NetView,
    network::{Network, SocketResult},
    wit::{
        network::{ErrorCode, IpAddressFamily, IpSocketAddress},
        udp::{
            Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket,
            IncomingDatagram, OutgoingDatagram,
        },
        udp_create_socket,
    },
};

/// Never constructed.
pub enum Udp {}
/// Never constructed.
pub enum IncomingDatagrams {}
/// Never constructed.
pub enum OutgoingDatagrams {}

impl udp_create_socket::Host for NetView<'_> {
    fn create_udp_socket(&mut self, _family: IpAddressFamily) -> SocketResult<Resource<Udp>> {
        Err(ErrorCode::NotSupported.into())
    }
}

impl Host for NetView<'_> {}

impl HostUdpSocket for NetView<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<Udp>,
        _network: Resource<Network>,
        _address: IpSocketAddress,
    ) -> SocketResult<()> {
        match *self.table.get(&socket)? {}
    }

    fn finish_bind(&mut self, socket: Resource<Udp>) -> SocketResult<()> {
        match *self.table.get(&socket)? {}
    }

    fn stream(
        &mut self,
        socket: Resource<Udp>,
        _remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagrams>, Resource<OutgoingDatagrams>)> {
        match *self.table.get(&socket)? {}
    }

    fn local_address(&mut self, socket: Resource<Udp>) -> SocketResult<IpSocketAddress> {
        match *self.table.get(&socket)? {}
    }

    fn remote_address(&mut self, socket: Resource<Udp>) -> SocketResult<IpSocketAddress> {
        match *self.table.get(&socket)? {}
    }

    fn address_family(&mut self, socket: Resource<Udp>) -> wasmtime::Result<IpAddressFamily> {
        match *self.table.get(&socket)? {}
    }

    fn unicast_hop_limit(&mut self, socket: Resource<Udp>) -> SocketResult<u8> {
        match *self.table.get(&socket)? {}
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<Udp>, _value: u8) -> SocketResult<()> {
        match *self.table.get(&socket)? {}
    }

    fn receive_buffer_size(&mut self, socket: Resource<Udp>) -> SocketResult<u64> {
        match *self.table.get(&socket)? {}
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Udp>, _value: u64) -> SocketResult<()> {
        match *self.table.get(&socket)? {}
    }

    fn send_buffer_size(&mut self, socket: Resource<Udp>) -> SocketResult<u64> {
        match *self.table.get(&socket)? {}
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Udp>, _value: u64) -> SocketResult<()> {
        match *self.table.get(&socket)? {}
    }

    fn subscribe(&mut self, socket: Resource<Udp>) -> wasmtime::Result<Resource<DynPollable>> {
        match *self.table.get(&socket)? {}
    }

    fn drop(&mut self, socket: Resource<Udp>) -> wasmtime::Result<()> {
        match self.table.delete(socket)? {}
    }
}

impl HostIncomingDatagramStream for NetView<'_> {
    fn receive(
        &mut self,
        stream: Resource<IncomingDatagrams>,
        _most: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        match *self.table.get(&stream)? {}
    }

    fn subscribe(
        &mut self,
        stream: Resource<IncomingDatagrams>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        match *self.table.get(&stream)? {}
    }

    fn drop(&mut self, stream: Resource<IncomingDatagrams>) -> wasmtime::Result<()> {
        match self.table.delete(stream)? {}
    }
}

impl HostOutgoingDatagramStream for NetView<'_> {
    fn check_send(&mut self, stream: Resource<OutgoingDatagrams>) -> SocketResult<u64> {
        match *self.table.get(&stream)? {}
    }

    fn send(
        &mut self,
        stream: Resource<OutgoingDatagrams>,
        _datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        match *self.table.get(&stream)? {}
    }

    fn subscribe(
        &mut self,
        stream: Resource<OutgoingDatagrams>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        match *self.table.get(&stream)? {}
    }

    fn drop(&mut self, stream: Resource<OutgoingDatagrams>) -> wasmtime::Result<()> {
        match self.table.delete(stream)? {}
    }
}
