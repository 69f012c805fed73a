//! The table of links. One per node; a newer link replaces the older one.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::SendRequest;
use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::links::error::LinkError;

/// The bounds.
#[derive(Clone, Debug)]
pub struct LinkLimits {
    /// Requests of one node that are under way at once, answers included (a followed log counts while it is followed). HTTP/2 allows about as many streams
    /// by default; a node with more viewers than this refuses the next one instead of slowing all of them.
    pub requests_per_node: usize,
    /// How long a node may take to begin its answer. Logs and stats begin at once; half would fail a busy edge device, double keeps a user waiting.
    pub answer_time: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            requests_per_node: 128,
            answer_time: Duration::from_secs(30),
        }
    }
}

/// A way to one node's HTTP endpoint.
#[derive(Clone, Debug)]
pub enum Link {
    /// The node is in this process.
    Local(Router),
    /// The node opened a connection and serves HTTP/2 on it.
    Remote(SendRequest<Body>),
}

/// The links of all nodes. Cheap to clone; clones are the same table.
#[derive(Clone, Debug, Default)]
pub struct NodeLinks {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    limits: LinkLimits,
    links: RwLock<HashMap<String, Attached>>,
    next: AtomicU64,
}

#[derive(Clone, Debug)]
struct Attached {
    id: u64,
    link: Link,
    slots: Arc<Semaphore>,
}

/// The number of an attached link, to detach it and not its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkId(u64);

impl NodeLinks {
    /// No links.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No links, with other bounds.
    #[must_use]
    pub fn with_limits(limits: LinkLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits,
                ..Shared::default()
            }),
        }
    }

    /// Makes `link` the way to `node`, instead of the one before.
    pub fn attach(&self, node: impl Into<String>, link: Link) -> LinkId {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let attached = Attached {
            id,
            link,
            slots: Arc::new(Semaphore::new(self.shared.limits.requests_per_node)),
        };
        self.shared.links.write().insert(node.into(), attached);
        LinkId(id)
    }

    /// Forgets the link to `node` if it still is `id`.
    pub fn detach(&self, node: &str, id: LinkId) {
        let mut links = self.shared.links.write();
        if links.get(node).is_some_and(|attached| attached.id == id.0) {
            links.remove(node);
        }
    }

    /// Whether there is a link to `node`.
    #[must_use]
    pub fn is_attached(&self, node: &str) -> bool {
        self.shared.links.read().contains_key(node)
    }

    /// Asks `node`'s HTTP endpoint. The URI is a path with a query; the answer's body may go on for as long as the node sends.
    ///
    /// # Errors
    /// See [`LinkError`]; nothing is retried here.
    /// # Cancellation
    /// Dropping the future or the answer's body ends the request.
    pub async fn call(
        &self,
        node: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, LinkError> {
        let attached = self.shared.links.read().get(node).cloned();
        let Some(attached) = attached else {
            return Err(LinkError::NotConnected {
                node: node.to_owned(),
            });
        };
        let permit = attached
            .slots
            .try_acquire_owned()
            .map_err(|_| LinkError::Busy {
                node: node.to_owned(),
            })?;
        let patience = self.shared.limits.answer_time;
        let answer = tokio::time::timeout(patience, send(node, attached.link, request));
        match answer.await {
            Ok(answer) => Ok(answer?.map(|body| held(body, permit))),
            Err(_) => Err(LinkError::Timeout {
                node: node.to_owned(),
                after: patience,
            }),
        }
    }
}

async fn send(node: &str, link: Link, request: Request<Body>) -> Result<Response<Body>, LinkError> {
    match link {
        Link::Local(router) => match router.oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        },
        Link::Remote(mut sender) => {
            let (mut parts, body) = request.into_parts();
            parts.uri = absolute(node, parts.uri);
            let request = Request::from_parts(parts, body);
            let broken = |source| LinkError::Broken {
                node: node.to_owned(),
                source,
            };
            sender.ready().await.map_err(broken)?;
            let response = sender.send_request(request).await.map_err(broken)?;
            Ok(response.map(Body::new))
        }
    }
}

/// HTTP/2 wants a scheme and an authority with every path. One that cannot be an authority is left out, and hyper refuses the request.
fn absolute(node: &str, uri: Uri) -> Uri {
    let mut parts = uri.into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = node.parse().ok();
    Uri::from_parts(parts).unwrap_or_default()
}

/// The body, with the slot of its request kept until it ends.
fn held(body: Body, permit: OwnedSemaphorePermit) -> Body {
    Body::new(body.map_frame(move |frame: Frame<Bytes>| {
        let _held = &permit;
        frame
    }))
}
