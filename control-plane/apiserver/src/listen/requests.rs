//! Each request of a connection: finds out who asks, hands the request on, and keeps count until the last byte of the answer. Answers itself only those
//! who are not known.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use coracle_api::status::ApiError;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, service::Service};
use serde_json::json;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::ServiceExt as _;

use super::{
    Shared,
    connections::{Connection, UnderWay},
};
use crate::{
    auth::authenticator::{Peer, Unknown, is_of_images},
    error,
    query::Query,
    streams::CutOff,
    upgrades::Ends,
};

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Requests {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    peer: Option<Peer>,
}

impl Requests {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        peer: Option<Peer>,
    ) -> Self {
        Self {
            shared,
            connection,
            peer,
        }
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = self.connection.begin();
        let mut request = request.map(Body::new);
        let known = self.shared.authenticator.authenticate(
            self.peer.as_ref(),
            request.uri().path(),
            request.headers(),
        );
        let user = match known {
            Ok(user) => user,
            Err(why) => {
                let response = refusal(why, request.uri().path());
                return Box::pin(std::future::ready(Ok(counted(response, under_way, None))));
            }
        };
        let ends = follows(&request).then(|| self.shared.stopping.clone());
        let extensions = request.extensions_mut();
        extensions.insert(user);
        extensions.insert(CutOff(self.connection.close.clone()));
        extensions.insert(Ends(self.shared.stopping.clone()));
        let router = self.shared.router.clone();
        let connection = Arc::clone(&self.connection);
        Box::pin(async move {
            let response = router.oneshot(request).await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                connection.upgrade();
            }
            Ok(counted(response, under_way, ends))
        })
    }
}

/// Whether the answer goes on until the client or the server has had enough: a watch, a followed log.
fn follows<B>(request: &Request<B>) -> bool {
    let query = Query::parse(request.uri().query());
    query.flag("watch") || query.flag("follow")
}

/// The answer to somebody who is not known.
fn refusal(why: Unknown, path: &str) -> Response<Body> {
    match why {
        Unknown::Unauthorized if is_of_images(path) => {
            // OCI distribution, "Error codes"; RFC 7617 for the challenge.
            let errors =
                json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]});
            let mut response = Response::new(Body::from(errors.to_string()));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"coracle\", charset=\"UTF-8\""),
            );
            headers.insert(
                "docker-distribution-api-version",
                HeaderValue::from_static("registry/2.0"),
            );
            response
        }
        Unknown::Unauthorized => error::response(&ApiError::unauthorized()),
    }
}

/// The answer, counted as under way until its body ends, which it does early if `ends` is cancelled.
fn counted(
    response: Response<Body>,
    under_way: UnderWay,
    ends: Option<CancellationToken>,
) -> Response<Body> {
    response.map(|body| {
        Body::new(Counted {
            body,
            _under_way: under_way,
            ends: ends.map(|token| Box::pin(token.cancelled_owned())),
        })
    })
}

struct Counted {
    body: Body,
    _under_way: UnderWay,
    ends: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(context).is_ready()
        {
            // Between two frames, which are whole events or lines: the client sees an answer that is complete.
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
