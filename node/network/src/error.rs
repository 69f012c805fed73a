//! What a network operation can fail with: the error codes of `wasi:sockets/network`, which are those of POSIX sockets.

/// Why a network operation failed. None is worth repeating at once but [`NetError::WouldBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NetError {
    /// The operation would have to wait.
    #[error("operation would block")]
    WouldBlock,
    /// Policy forbids it.
    #[error("access denied")]
    AccessDenied,
    /// An argument makes no sense.
    #[error("invalid argument")]
    InvalidArgument,
    /// The operation does not fit what was done before.
    #[error("invalid state")]
    InvalidState,
    /// Somebody listens there already.
    #[error("address in use")]
    AddressInUse,
    /// The address is not one of this pod.
    #[error("address not available")]
    AddressNotBindable,
    /// No way leads there.
    #[error("remote unreachable")]
    RemoteUnreachable,
    /// Nobody listens there.
    #[error("connection refused")]
    ConnectionRefused,
    /// The other side went away without a goodbye.
    #[error("connection reset")]
    ConnectionReset,
    /// The operation was given up here.
    #[error("connection aborted")]
    ConnectionAborted,
    /// Nobody answered in time.
    #[error("timed out")]
    Timeout,
    /// A bound on sockets was reached.
    #[error("too many sockets")]
    NewSocketLimit,
    /// More bytes than a datagram holds.
    #[error("datagram too large")]
    DatagramTooLarge,
    /// Nobody has that name.
    #[error("name not resolvable")]
    NameUnresolvable,
    /// The operation is not available here.
    #[error("not supported")]
    NotSupported,
}

impl From<NetError> for std::io::Error {
    fn from(error: NetError) -> Self {
        use std::io::ErrorKind;
        let kind = match error {
            NetError::WouldBlock => ErrorKind::WouldBlock,
            NetError::AccessDenied => ErrorKind::PermissionDenied,
            NetError::InvalidArgument | NetError::InvalidState => ErrorKind::InvalidInput,
            NetError::AddressInUse => ErrorKind::AddrInUse,
            NetError::AddressNotBindable => ErrorKind::AddrNotAvailable,
            NetError::RemoteUnreachable => ErrorKind::HostUnreachable,
            NetError::ConnectionRefused => ErrorKind::ConnectionRefused,
            NetError::ConnectionReset => ErrorKind::ConnectionReset,
            NetError::ConnectionAborted => ErrorKind::ConnectionAborted,
            NetError::Timeout => ErrorKind::TimedOut,
            NetError::NewSocketLimit => ErrorKind::QuotaExceeded,
            NetError::DatagramTooLarge => ErrorKind::InvalidInput,
            NetError::NameUnresolvable => ErrorKind::NotFound,
            NetError::NotSupported => ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}
