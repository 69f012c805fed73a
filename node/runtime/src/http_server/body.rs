//! The rest of a request once its response has begun: the guest goes on writing the body while it is sent. Both are one future, so that a request
//! costs no task of its own.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use super::pool::{Checkout, Pool};

/// A guest's call: ends with the instance and how the call went.
type Call = Pin<Box<dyn Future<Output = (Checkout, wasmtime::Result<()>)> + Send>>;

/// A guest's call that gives its instance back when it ends.
pub(super) struct Finish {
    pool: Arc<Pool>,
    call: Option<Call>,
}

impl Finish {
    pub(super) fn new(
        pool: Arc<Pool>,
        call: impl Future<Output = (Checkout, wasmtime::Result<()>)> + Send + 'static,
    ) -> Pin<Box<Self>> {
        Box::pin(Self {
            pool,
            call: Some(Box::pin(call)),
        })
    }

    fn is_running(&self) -> bool {
        self.call.is_some()
    }
}

impl Future for Finish {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(call) = &mut self.call else {
            return Poll::Ready(());
        };
        let (checkout, outcome) = std::task::ready!(call.as_mut().poll(context));
        self.call = None;
        match outcome {
            Ok(()) => self.pool.give_back(checkout),
            Err(error) => self.pool.discard(checkout, &error),
        }
        Poll::Ready(())
    }
}

/// A response's body, with the guest that writes it.
pub(super) struct GuestBody {
    body: WasiBody,
    guest: Option<Pin<Box<Finish>>>,
    pool: Arc<Pool>,
}

impl GuestBody {
    pub(super) fn new(body: WasiBody, guest: Pin<Box<Finish>>) -> Self {
        let pool = Arc::clone(&guest.pool);
        Self {
            body,
            guest: Some(guest),
            pool,
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(guest) = &mut self.guest
            && guest.as_mut().poll(context).is_ready()
        {
            self.guest = None;
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        // While the guest runs there may be more, trailers at least.
        self.guest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        // The response is sent or the client is gone; what the guest does afterwards it does on its own, as WASI lets it.
        let Some(guest) = self.guest.take().filter(|guest| guest.is_running()) else {
            return;
        };
        let shared = Arc::clone(self.pool.shared());
        let killed = shared.killed.clone();
        let rest = async move {
            tokio::select! {
                () = killed.cancelled() => {}
                () = guest => {}
            }
        };
        if shared
            .place
            .spawn(&shared.meter, shared.spec.cpu_weight_millis, rest)
            .is_err()
        {
            tracing::debug!(
                container = shared.spec.id,
                "a guest was ended after its response: its thread takes no more tasks"
            );
        }
    }
}
