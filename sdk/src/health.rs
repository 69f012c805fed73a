//! Answers for the probes a pod's spec may ask for.
//!
//! An HTTP service answers them among its own paths with [`answer`]. A TCP server is best probed with `tcpSocket`; where being reachable is
//! not being ready, it runs [`serve`] on a second port and says [`Readiness::ready`] when it is.

use std::{cell::Cell, io, rc::Rc};

use wstd::io::{AsyncRead as _, AsyncWrite as _};

use crate::{
    http::{Body, Request, Response, StatusCode, status},
    net,
};

/// Answers `/livez` and `/readyz`; `None` for every other path. `ready` says whether requests can be served now.
///
/// ```
/// use coracle_sdk::{health, http::{Body, Request}};
/// let probe = Request::get("http://pod/readyz").body(Body::empty()).unwrap();
/// assert_eq!(health::answer(&probe, false).unwrap().status(), 503);
/// ```
pub fn answer(request: &Request<Body>, ready: bool) -> Option<Response<Body>> {
    match (request.uri().path(), ready) {
        ("/livez", _) | ("/readyz", true) => Some(status(StatusCode::OK, "ok\n")),
        ("/readyz", false) => Some(status(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")),
        _ => None,
    }
}

/// Whether the program is ready. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Rc<Cell<bool>>);

impl Readiness {
    /// Not ready yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on ready, or not.
    pub fn ready(&self, ready: bool) {
        self.0.set(ready);
    }
}

/// Answers `GET /livez` and `GET /readyz` on `port` until the pod stops.
///
/// # Errors
/// When the port cannot be listened on.
///
/// ```no_run
/// use coracle_sdk::health::{self, Readiness};
/// let readiness = Readiness::new();
/// coracle_sdk::spawn(health::serve(8081, readiness.clone())).detach();
/// readiness.ready(true);
/// ```
pub async fn serve(port: u16, readiness: Readiness) -> io::Result<()> {
    net::serve(port, move |mut stream| {
        let readiness = readiness.clone();
        async move {
            // A probe's request line and headers are far smaller; more than this is not a probe.
            let mut head = [0; 2048];
            let mut filled = 0;
            while filled < head.len() && !head[..filled].windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut head[filled..]).await? {
                    0 => break,
                    n => filled += n,
                }
            }
            let line = head[..filled]
                .split(|&byte| byte == b'\r')
                .next()
                .unwrap_or_default();
            let (code, text) = match (line, readiness.0.get()) {
                (b"GET /livez HTTP/1.1", _) | (b"GET /readyz HTTP/1.1", true) => ("200 OK", "ok\n"),
                (b"GET /readyz HTTP/1.1", false) => ("503 Service Unavailable", "not ready\n"),
                _ => ("404 Not Found", "only /livez and /readyz are here\n"),
            };
            let answer = format!(
                "HTTP/1.1 {code}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).await
        }
    })
    .await
}
