//! TCP sockets: the states that `wasi:sockets/tcp` prescribes, over the pod's stack.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use coracle_network::{NetError, TcpBinding, TcpListener, TcpStream};
use wasmtime::component::Resource;
use wasmtime_wasi_io::{
    async_trait,
    poll::{DynPollable, Pollable, subscribe},
    streams::{DynInputStream, DynOutputStream},
};

use super::{
    NetView,
    network::{Network, SocketResult, from_guest, is_of_family, is_target, to_guest},
    options::{self, TcpOptions},
    streams::{Input, Output},
    wit::{
        network::{ErrorCode, IpAddressFamily, IpSocketAddress},
        tcp::{Host, HostTcpSocket, ShutdownType},
        tcp_create_socket,
    },
};

type Connecting = Pin<Box<dyn Future<Output = Result<TcpStream, NetError>> + Send>>;

/// Where a socket is in its life.
enum State {
    Fresh,
    /// `start-bind` was called.
    Binding(TcpBinding),
    Bound(TcpBinding),
    /// `start-listen` was called.
    StartingToListen(Arc<TcpListener>),
    Listening(Arc<TcpListener>),
    /// `start-connect` was called.
    Connecting(Connecting),
    /// The connection is made or has failed, and `finish-connect` will tell.
    ConnectDone(Result<TcpStream, NetError>),
    Connected(Arc<TcpStream>),
    Closed,
}

/// A socket.
pub struct Tcp {
    state: State,
    family: IpAddressFamily,
    backlog: usize,
    options: TcpOptions,
}

impl Tcp {
    fn new(family: IpAddressFamily, state: State, options: TcpOptions) -> Self {
        Self {
            state,
            family,
            backlog: coracle_network::listener::BACKLOG,
            options,
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Closed)
    }

    /// Drives a connection being made.
    fn poll_connect(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let State::Connecting(connecting) = &mut self.state {
            let done = std::task::ready!(connecting.as_mut().poll(context));
            self.state = State::ConnectDone(done);
        }
        Poll::Ready(())
    }
}

#[async_trait]
impl Pollable for Tcp {
    async fn ready(&mut self) {
        match &self.state {
            State::Listening(listener) => listener.ready().await,
            State::Connecting(_) => poll_fn(|context| self.poll_connect(context)).await,
            State::Connected(stream) => stream.readable().await,
            _ => {}
        }
    }
}

impl tcp_create_socket::Host for NetView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Tcp>> {
        let fresh = Tcp::new(family, State::Fresh, TcpOptions::default());
        Ok(self.table.push(fresh)?)
    }
}

impl NetView<'_> {
    fn tcp(&mut self, socket: &Resource<Tcp>) -> SocketResult<&mut Tcp> {
        Ok(self.table.get_mut(socket)?)
    }

    /// The streams of a connection, as children of its socket.
    fn streams(
        &mut self,
        socket: &Resource<Tcp>,
        stream: &Arc<TcpStream>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let input: DynInputStream = Box::new(Input::new(stream));
        let output: DynOutputStream = Box::new(Output::new(stream));
        Ok((
            self.table.push_child(input, socket)?,
            self.table.push_child(output, socket)?,
        ))
    }
}

impl Host for NetView<'_> {}

impl HostTcpSocket for NetView<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<Tcp>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> SocketResult<()> {
        self.table.get(&network)?;
        let address = from_guest(address);
        let stack = Arc::clone(self.stack);
        let socket = self.tcp(&socket)?;
        match socket.state {
            State::Fresh => {}
            State::Binding(_)
            | State::StartingToListen(_)
            | State::Connecting(_)
            | State::ConnectDone(_) => return Err(ErrorCode::ConcurrencyConflict.into()),
            _ => return Err(ErrorCode::InvalidState.into()),
        }
        if !is_of_family(address.ip(), socket.family) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        socket.state = State::Binding(stack.tcp_bind(address)?);
        Ok(())
    }

    fn finish_bind(&mut self, socket: Resource<Tcp>) -> SocketResult<()> {
        let socket = self.tcp(&socket)?;
        match socket.take() {
            State::Binding(binding) => {
                socket.state = State::Bound(binding);
                Ok(())
            }
            other => {
                socket.state = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn start_connect(
        &mut self,
        socket: Resource<Tcp>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> SocketResult<()> {
        self.table.get(&network)?;
        let address = from_guest(address);
        let stack = Arc::clone(self.stack);
        let socket = self.tcp(&socket)?;
        match &socket.state {
            State::Fresh | State::Bound(_) => {}
            State::Binding(_)
            | State::StartingToListen(_)
            | State::Connecting(_)
            | State::ConnectDone(_) => return Err(ErrorCode::ConcurrencyConflict.into()),
            _ => return Err(ErrorCode::InvalidState.into()),
        }
        let is_broadcast = address.ip() == std::net::Ipv4Addr::BROADCAST;
        if !is_target(address, socket.family) || address.ip().is_multicast() || is_broadcast {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let connecting: Connecting = match socket.take() {
            State::Bound(binding) => Box::pin(binding.connect(address)),
            _ => Box::pin(stack.tcp_connect(address)),
        };
        socket.state = State::Connecting(connecting);
        Ok(())
    }

    fn finish_connect(
        &mut self,
        socket: Resource<Tcp>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let tcp = self.tcp(&socket)?;
        // Most connections are made at once; where one is not, `ready` goes on with it.
        let _ = tcp.poll_connect(&mut Context::from_waker(Waker::noop()));
        match tcp.take() {
            State::ConnectDone(done) => {
                let stream = Arc::new(done?);
                tcp.state = State::Connected(Arc::clone(&stream));
                self.streams(&socket, &stream)
            }
            other @ State::Connecting(_) => {
                tcp.state = other;
                Err(ErrorCode::WouldBlock.into())
            }
            other => {
                tcp.state = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn start_listen(&mut self, socket: Resource<Tcp>) -> SocketResult<()> {
        let listeners = self.listeners.clone();
        let socket = self.tcp(&socket)?;
        match socket.take() {
            State::Bound(binding) => {
                let listener = Arc::new(binding.listen(socket.backlog)?);
                listeners.add(&listener);
                socket.state = State::StartingToListen(listener);
                Ok(())
            }
            other => {
                socket.state = other;
                Err(ErrorCode::InvalidState.into())
            }
        }
    }

    fn finish_listen(&mut self, socket: Resource<Tcp>) -> SocketResult<()> {
        let socket = self.tcp(&socket)?;
        match socket.take() {
            State::StartingToListen(listener) => {
                socket.state = State::Listening(listener);
                Ok(())
            }
            other => {
                socket.state = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn accept(
        &mut self,
        socket: Resource<Tcp>,
    ) -> SocketResult<(
        Resource<Tcp>,
        Resource<DynInputStream>,
        Resource<DynOutputStream>,
    )> {
        let listening = self.tcp(&socket)?;
        let State::Listening(listener) = &listening.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        let stream = Arc::new(listener.try_accept()?);
        let options = listening.options.clone();
        let family = if stream.local_addr().is_ipv4() {
            IpAddressFamily::Ipv4
        } else {
            IpAddressFamily::Ipv6
        };
        let accepted = self.table.push(Tcp::new(
            family,
            State::Connected(Arc::clone(&stream)),
            options,
        ))?;
        let (input, output) = self.streams(&accepted, &stream)?;
        Ok((accepted, input, output))
    }

    fn local_address(&mut self, socket: Resource<Tcp>) -> SocketResult<IpSocketAddress> {
        match &self.tcp(&socket)?.state {
            State::Bound(binding) => Ok(to_guest(binding.local_addr())),
            State::Listening(listener) | State::StartingToListen(listener) => {
                Ok(to_guest(listener.local_addr()))
            }
            State::Connected(stream) => Ok(to_guest(stream.local_addr())),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn remote_address(&mut self, socket: Resource<Tcp>) -> SocketResult<IpSocketAddress> {
        match &self.tcp(&socket)?.state {
            State::Connected(stream) => Ok(to_guest(stream.peer_addr())),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn is_listening(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<bool> {
        Ok(matches!(
            self.table.get(&socket)?.state,
            State::Listening(_)
        ))
    }

    fn address_family(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family)
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<Tcp>, value: u64) -> SocketResult<()> {
        let socket = self.tcp(&socket)?;
        if value == 0 {
            return Err(ErrorCode::InvalidArgument.into());
        }
        socket.backlog = usize::try_from(value).unwrap_or(usize::MAX);
        match &socket.state {
            State::Listening(listener) => listener.set_backlog(socket.backlog),
            State::Fresh | State::Bound(_) => {}
            _ => return Err(ErrorCode::InvalidState.into()),
        }
        Ok(())
    }

    fn keep_alive_enabled(&mut self, socket: Resource<Tcp>) -> SocketResult<bool> {
        Ok(self.tcp(&socket)?.options.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<Tcp>, value: bool) -> SocketResult<()> {
        self.tcp(&socket)?.options.keep_alive = value;
        Ok(())
    }

    fn keep_alive_idle_time(&mut self, socket: Resource<Tcp>) -> SocketResult<u64> {
        Ok(self.tcp(&socket)?.options.keep_alive_idle)
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<Tcp>, value: u64) -> SocketResult<()> {
        self.tcp(&socket)?.options.keep_alive_idle = options::keep_alive_time(value)?;
        Ok(())
    }

    fn keep_alive_interval(&mut self, socket: Resource<Tcp>) -> SocketResult<u64> {
        Ok(self.tcp(&socket)?.options.keep_alive_interval)
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<Tcp>, value: u64) -> SocketResult<()> {
        self.tcp(&socket)?.options.keep_alive_interval = options::keep_alive_time(value)?;
        Ok(())
    }

    fn keep_alive_count(&mut self, socket: Resource<Tcp>) -> SocketResult<u32> {
        Ok(self.tcp(&socket)?.options.keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, socket: Resource<Tcp>, value: u32) -> SocketResult<()> {
        self.tcp(&socket)?.options.keep_alive_count = options::keep_alive_count(value)?;
        Ok(())
    }

    fn hop_limit(&mut self, socket: Resource<Tcp>) -> SocketResult<u8> {
        Ok(self.tcp(&socket)?.options.hop_limit)
    }

    fn set_hop_limit(&mut self, socket: Resource<Tcp>, value: u8) -> SocketResult<()> {
        self.tcp(&socket)?.options.hop_limit = options::hop_limit(value)?;
        Ok(())
    }

    fn receive_buffer_size(&mut self, socket: Resource<Tcp>) -> SocketResult<u64> {
        Ok(self.tcp(&socket)?.options.receive_buffer)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Tcp>, value: u64) -> SocketResult<()> {
        self.tcp(&socket)?.options.receive_buffer = options::buffer(value)?;
        Ok(())
    }

    fn send_buffer_size(&mut self, socket: Resource<Tcp>) -> SocketResult<u64> {
        Ok(self.tcp(&socket)?.options.send_buffer)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Tcp>, value: u64) -> SocketResult<()> {
        self.tcp(&socket)?.options.send_buffer = options::buffer(value)?;
        Ok(())
    }

    fn subscribe(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn shutdown(&mut self, socket: Resource<Tcp>, kind: ShutdownType) -> SocketResult<()> {
        let State::Connected(stream) = &self.tcp(&socket)?.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        if matches!(kind, ShutdownType::Receive | ShutdownType::Both) {
            stream.shutdown_read();
        }
        if matches!(kind, ShutdownType::Send | ShutdownType::Both) {
            stream.shutdown_write();
        }
        Ok(())
    }

    fn drop(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}
