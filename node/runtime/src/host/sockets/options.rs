//! Socket options that a network in memory has little use for. They are kept, in the bounds that Linux has, because programs read back what they set.

use super::{network::SocketResult, wit::network::ErrorCode};

const SECOND: u64 = 1_000_000_000;
/// The most seconds of `TCP_KEEPIDLE` and `TCP_KEEPINTVL`.
const KEEP_ALIVE_SECONDS: u64 = 32_767;
/// The most probes of `TCP_KEEPCNT`.
const KEEP_ALIVE_COUNT: u32 = 127;
/// The bounds of buffers: Linux' least, and what a connection here buffers per direction at the most.
const BUFFER_LEAST: u64 = 2304;
const BUFFER_MOST: u64 = coracle_network::pipe::CAPACITY as u64;

/// Those of a TCP socket.
#[derive(Clone)]
pub(super) struct TcpOptions {
    pub(super) keep_alive: bool,
    pub(super) keep_alive_idle: u64,
    pub(super) keep_alive_interval: u64,
    pub(super) keep_alive_count: u32,
    pub(super) hop_limit: u8,
    pub(super) receive_buffer: u64,
    pub(super) send_buffer: u64,
}

impl Default for TcpOptions {
    /// Linux' defaults.
    fn default() -> Self {
        Self {
            keep_alive: false,
            keep_alive_idle: 7200 * SECOND,
            keep_alive_interval: 75 * SECOND,
            keep_alive_count: 9,
            hop_limit: 64,
            receive_buffer: BUFFER_MOST,
            send_buffer: BUFFER_MOST,
        }
    }
}

/// Whole seconds, as Linux keeps them.
pub(super) fn keep_alive_time(nanoseconds: u64) -> SocketResult<u64> {
    let seconds = not_zero(nanoseconds)?.div_ceil(SECOND);
    Ok(seconds.min(KEEP_ALIVE_SECONDS) * SECOND)
}

pub(super) fn keep_alive_count(count: u32) -> SocketResult<u32> {
    Ok(not_zero(count)?.min(KEEP_ALIVE_COUNT))
}

pub(super) fn hop_limit(hops: u8) -> SocketResult<u8> {
    not_zero(hops)
}

pub(super) fn buffer(bytes: u64) -> SocketResult<u64> {
    Ok(not_zero(bytes)?.clamp(BUFFER_LEAST, BUFFER_MOST))
}

pub(super) fn datagram_buffer(bytes: u64) -> SocketResult<u64> {
    let most = coracle_network::udp::RECEIVE_BUFFER as u64;
    Ok(not_zero(bytes)?.clamp(BUFFER_LEAST, most))
}

fn not_zero<T: PartialEq + Default>(value: T) -> SocketResult<T> {
    if value == T::default() {
        Err(ErrorCode::InvalidArgument.into())
    } else {
        Ok(value)
    }
}
