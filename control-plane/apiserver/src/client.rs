//! Clients of the API in the same process: the router called directly, no sockets, the same pipeline.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::body::Body;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use tower::Service;

use crate::auth::user::UserInfo;

/// A client whose requests are those of `user`. Must be called within a tokio runtime.
#[must_use]
pub fn in_process(router: axum::Router, user: UserInfo) -> kube::Client {
    // Writes without a field manager are its program's: the user's last name says what that is.
    let program = user.name.rsplit(':').next().unwrap_or_default();
    let agent = HeaderValue::from_str(program).ok();
    let service = InProcess {
        router,
        user,
        agent,
    };
    kube::Client::new(service, "default")
}

/// Turns a client's requests into the router's.
#[derive(Clone)]
struct InProcess {
    router: axum::Router,
    user: UserInfo,
    agent: Option<HeaderValue>,
}

impl Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let mut request = request.map(Body::new);
        let headers = request.headers_mut();
        if !headers.contains_key(USER_AGENT)
            && let Some(agent) = self.agent.clone()
        {
            headers.insert(USER_AGENT, agent);
        }
        request.extensions_mut().insert(self.user.clone());
        let mut router = self.router.clone();
        Box::pin(async move { router.call(request).await })
    }
}
