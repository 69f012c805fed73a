//! Containers that answer HTTP: the host listens on the pod's port, speaks HTTP, and hands each request to an instance. Instances are made when
//! they are needed and kept for further requests; a guest that fails costs its request, not the container.

mod body;
mod pool;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use coracle_network::{TcpListener, TcpStream};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};
use wasmtime_wasi_http::{Error, WasiHttpView, p2::bindings::http::types::Scheme};

use self::{
    body::{Finish, GuestBody},
    pool::{Checkout, Pool},
};
use crate::{
    artifact::ContainerKind,
    container::{EndGuard, Shared},
    exit::Exit,
    runtime::{Runtime, StartError},
};

/// Connections per container at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 4096;
/// How long a client may take for a request's head. Between requests a connection may idle as long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

type Body = UnsyncBoxBody<Bytes, Error>;

/// Starts to serve.
pub(crate) fn start(runtime: &Arc<Runtime>, shared: &Arc<Shared>) -> Result<(), StartError> {
    debug_assert_eq!(shared.spec.artifact.kind, ContainerKind::HttpHandler);
    let port = shared.spec.http_port.ok_or_else(|| {
        StartError::Spec("an HTTP handler needs a port: give its container one in ports".to_owned())
    })?;
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    let listener = shared
        .spec
        .stack
        .tcp_listen(address, coracle_network::listener::BACKLOG_LIMIT);
    let listener = Arc::new(listener.map_err(|source| StartError::Listen { port, source })?);
    shared.listeners.add(&listener);
    let pool = Pool::new(runtime, shared)?;
    let guard = EndGuard(Arc::clone(shared));
    let task = async move {
        let shared = Arc::clone(&guard.0);
        tokio::select! {
            biased;
            () = shared.killed.cancelled() => {}
            exit = accept(&listener, &shared, &pool) => shared.ended(exit),
        }
        drop(listener);
        drop(guard);
    };
    shared
        .place
        .spawn(&shared.meter, shared.spec.cpu_weight_millis, task)
        .map_err(|_| StartError::Full)
}

/// Takes connections until the container is to stop, then waits for those open.
async fn accept(listener: &TcpListener, shared: &Arc<Shared>, pool: &Arc<Pool>) -> Exit {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            fault = pool.fatal() => return fault,
        };
        // An error means that the port is drained: there will be no more.
        let Ok(stream) = accepted else { break };
        let (container, pool) = (Arc::clone(shared), Arc::clone(pool));
        let connection = async move {
            tokio::select! {
                biased;
                () = container.killed.cancelled() => {}
                () = converse(stream, &container, &pool) => {}
            }
            drop(permit);
        };
        if shared
            .place
            .spawn(&shared.meter, shared.spec.cpu_weight_millis, connection)
            .is_err()
        {
            tracing::warn!(
                container = shared.spec.id,
                "a connection was dropped: its thread takes no more tasks"
            );
        }
    }
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    // Closed only by dropping, which does not happen while it is waited for.
    let _ = room.acquire_many(all).await;
    Exit::Completed(0)
}

/// Serves one connection, request by request.
async fn converse(stream: TcpStream, shared: &Arc<Shared>, pool: &Arc<Pool>) {
    let service = service_fn(|request| {
        let pool = Arc::clone(pool);
        async move { Ok::<_, std::convert::Infallible>(answer(request, &pool).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(128 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shared.stopping.cancelled() => {
            // The request under way is finished; the connection is not kept for another.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(container = shared.spec.id, %error, "a connection ended with an error");
    }
}

/// Has an instance answer one request.
async fn answer(request: Request<Incoming>, pool: &Arc<Pool>) -> Response<Body> {
    let mut checkout = match pool.checkout().await {
        Ok(checkout) => checkout,
        Err(error) => {
            tracing::warn!(container = pool.id(), %error, "no instance for a request");
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "no instance could be made for this request\n",
            );
        }
    };
    let (sender, mut receiver) = oneshot::channel();
    let prepared = {
        let mut http = checkout.store.data_mut().http();
        let request =
            http.new_incoming_request(Scheme::Http, request.map(|body| body.map_err(Error::Hyper)));
        request.and_then(|request| Ok((request, http.new_response_outparam(sender)?)))
    };
    let (request, out) = match prepared {
        Ok(prepared) => prepared,
        // A request without a host, or with one that is no text.
        Err(error) => {
            pool.give_back(checkout);
            return plain(StatusCode::BAD_REQUEST, &format!("{error:#}\n"));
        }
    };
    let mut guest = Finish::new(Arc::clone(pool), async move {
        let Checkout { store, proxy, .. } = &mut checkout;
        let handled = proxy
            .wasi_http_incoming_handler()
            .call_handle(store, request, out)
            .await;
        (checkout, handled)
    });
    let response = tokio::select! {
        biased;
        response = &mut receiver => response,
        // It may have answered and ended in one go.
        () = guest.as_mut() => match receiver.try_recv() {
            Ok(response) => Ok(response),
            Err(_) => return failed(pool),
        },
    };
    match response {
        Ok(Ok(response)) => response.map(|body| GuestBody::new(body, guest).boxed_unsync()),
        Ok(Err(code)) => {
            guest.await;
            tracing::debug!(
                container = pool.id(),
                ?code,
                "the guest answered a request with an error"
            );
            plain(StatusCode::BAD_GATEWAY, "the service failed to answer\n")
        }
        Err(_) => {
            guest.await;
            failed(pool)
        }
    }
}

/// The guest trapped, or returned without an answer.
fn failed(pool: &Pool) -> Response<Body> {
    tracing::debug!(container = pool.id(), "a request ended without an answer");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the service failed\n")
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
