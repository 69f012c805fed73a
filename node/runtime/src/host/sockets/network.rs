//! The network as a capability, and errors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use coracle_network::NetError;
use wasmtime::component::{Resource, ResourceTableError};

use super::{
    NetView,
    wit::{
        instance_network,
        network::{
            self, ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress,
            Ipv6SocketAddress,
        },
    },
};

/// The capability to use the pod's network. Every instance has it.
pub struct Network;

/// Either an error that the guest sees, or a trap.
pub enum SocketError {
    Code(ErrorCode),
    Trap(wasmtime::Error),
}

pub(super) type SocketResult<T> = Result<T, SocketError>;

impl From<ErrorCode> for SocketError {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<ResourceTableError> for SocketError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<wasmtime::Error> for SocketError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

impl From<NetError> for SocketError {
    fn from(error: NetError) -> Self {
        Self::Code(match error {
            NetError::WouldBlock => ErrorCode::WouldBlock,
            NetError::AccessDenied => ErrorCode::AccessDenied,
            NetError::InvalidArgument => ErrorCode::InvalidArgument,
            NetError::InvalidState => ErrorCode::InvalidState,
            NetError::AddressInUse => ErrorCode::AddressInUse,
            NetError::AddressNotBindable => ErrorCode::AddressNotBindable,
            NetError::RemoteUnreachable => ErrorCode::RemoteUnreachable,
            NetError::ConnectionRefused => ErrorCode::ConnectionRefused,
            NetError::ConnectionReset => ErrorCode::ConnectionReset,
            NetError::ConnectionAborted => ErrorCode::ConnectionAborted,
            NetError::Timeout => ErrorCode::Timeout,
            NetError::NewSocketLimit => ErrorCode::NewSocketLimit,
            NetError::DatagramTooLarge => ErrorCode::DatagramTooLarge,
            NetError::NameUnresolvable => ErrorCode::NameUnresolvable,
            NetError::NotSupported => ErrorCode::NotSupported,
        })
    }
}

impl network::Host for NetView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        match error {
            SocketError::Code(code) => Ok(code),
            SocketError::Trap(trap) => Err(trap),
        }
    }
}

impl network::HostNetwork for NetView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl instance_network::Host for NetView<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        Ok(self.table.push(Network)?)
    }
}

/// Whether a socket of `family` may have anything to do with an address. Sockets of WASI are of one family alone, so IPv4 in the clothes of IPv6 is
/// neither's.
pub(super) fn is_of_family(ip: IpAddr, family: IpAddressFamily) -> bool {
    match (ip, family) {
        (IpAddr::V4(_), IpAddressFamily::Ipv4) => true,
        (IpAddr::V6(ip), IpAddressFamily::Ipv6) => {
            // ::a.b.c.d, abandoned long ago.
            let is_compatible = ip.segments().iter().take(6).all(|part| *part == 0)
                && !ip.is_unspecified()
                && !ip.is_loopback();
            !is_compatible && ip.to_ipv4_mapped().is_none()
        }
        _ => false,
    }
}

/// Whether a socket of `family` may connect or send to an address.
pub(super) fn is_target(address: SocketAddr, family: IpAddressFamily) -> bool {
    is_of_family(address.ip(), family) && !address.ip().is_unspecified() && address.port() != 0
}

/// An address of the guest as the host has it.
pub(super) fn from_guest(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(Ipv4SocketAddress {
            port,
            address: (a, b, c, d),
        }) => (Ipv4Addr::new(a, b, c, d), port).into(),
        IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port,
            flow_info,
            address: (a, b, c, d, e, f, g, h),
            scope_id,
        }) => SocketAddrV6::new(
            Ipv6Addr::new(a, b, c, d, e, f, g, h),
            port,
            flow_info,
            scope_id,
        )
        .into(),
    }
}

/// An address of the host as the guest has it.
pub(super) fn to_guest(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(v4) => IpSocketAddress::Ipv4(Ipv4SocketAddress {
            port: v4.port(),
            address: v4.ip().octets().into(),
        }),
        SocketAddr::V6(v6) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: v6.port(),
            flow_info: v6.flowinfo(),
            address: v6.ip().segments().into(),
            scope_id: v6.scope_id(),
        }),
    }
}

/// An address without a port.
pub(super) fn ip_to_guest(ip: IpAddr) -> IpAddress {
    match ip {
        IpAddr::V4(v4) => IpAddress::Ipv4(v4.octets().into()),
        IpAddr::V6(v6) => IpAddress::Ipv6(v6.segments().into()),
    }
}
