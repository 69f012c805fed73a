//! SPDY/3.1 as far as `kubectl` speaks it: streams that clients open on an upgraded connection (or inside a WebSocket). Frames are in [`frame`], their
//! headers in [`headers`], streams in [`connection`]. There is no flow control between streams: Kubernetes' clients have none, TCP's holds for all.

mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{Gone, Incoming, OPENING, Outgoing, Stream, serve};
pub use headers::Headers;

#[cfg(test)]
pub(crate) use connection::tests as testing;

/// Why a connection cannot go on. All are the client's fault but `Io`; none can be answered to, the connection ends.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// A control frame that is none.
    #[error("SPDY frame: {0}")]
    Frame(&'static str),
    /// A header block that is none.
    #[error("SPDY header block: {0}")]
    Headers(&'static str),
    /// The connection broke.
    #[error("SPDY connection")]
    Io(#[from] std::io::Error),
}
