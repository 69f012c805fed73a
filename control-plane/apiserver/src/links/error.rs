//! What can go wrong between the API server and a node.

use std::time::Duration;

/// Why a node could not be asked. The API server answers with [`LinkError::code`]; clients may retry all of them.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The node has no link.
    #[error("node {node:?} is not connected")]
    NotConnected {
        /// The node.
        node: String,
    },
    /// The link broke during the request.
    #[error("the link to node {node:?} broke")]
    Broken {
        /// The node.
        node: String,
        /// What the connection said.
        #[source]
        source: hyper::Error,
    },
    /// The node did not answer in time.
    #[error("node {node:?} did not answer within {after:?}")]
    Timeout {
        /// The node.
        node: String,
        /// How long was waited.
        after: Duration,
    },
    /// Too many requests to the node are under way.
    #[error("too many requests to node {node:?} are under way")]
    Busy {
        /// The node.
        node: String,
    },
}

impl LinkError {
    /// The HTTP status: 503, or 504 when the node took too long.
    #[must_use]
    pub fn code(&self) -> http::StatusCode {
        match self {
            Self::Timeout { .. } => http::StatusCode::GATEWAY_TIMEOUT,
            Self::NotConnected { .. } | Self::Broken { .. } | Self::Busy { .. } => {
                http::StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}
