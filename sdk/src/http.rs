//! HTTP: the node serves the requests and hands them over one by one; calls to other services go through the pod's network.

pub use wstd::http::{
    Body, Error, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
};

/// The names of headers.
pub use ::http::header;

use serde::{Serialize, de::DeserializeOwned};
use wstd::http::Client;
use wstd::time::Duration;

/// Makes an async function the program's HTTP service: `serve!(handler)` with
/// `async fn handler(Request<Body>) -> Result<Response<Body>, Error>`.
///
/// The node listens on the container's first port, calls the function for each request and may keep the instance for further requests:
/// what a `static` holds can be there next time, or not. An `Err` is logged and answered with 500.
///
/// ```no_run
/// use coracle_sdk::http::{Body, Error, Request, Response};
///
/// coracle_sdk::serve!(echo);
///
/// async fn echo(mut request: Request<Body>) -> Result<Response<Body>, Error> {
///     let text = request.body_mut().str_contents().await?.to_owned();
///     Ok(Response::new(text.into()))
/// }
/// ```
#[macro_export]
macro_rules! serve {
    ($handler:path) => {
        struct CoracleHttpService;

        impl $crate::__private::wasip2::exports::http::incoming_handler::Guest for CoracleHttpService {
            fn handle(
                request: $crate::__private::wasip2::http::types::IncomingRequest,
                response: $crate::__private::wasip2::http::types::ResponseOutparam,
            ) {
                $crate::http::answer(request, response, $handler);
            }
        }

        $crate::__private::wasip2::http::proxy::export!(
            CoracleHttpService with_types_in $crate::__private::wasip2
        );

        /// Only there because a binary must have one; the node calls the handler instead.
        fn main() {
            $crate::log::error("this module is an HTTP service: its handler is called, not its main");
            ::std::process::exit(1)
        }
    };
}

/// Runs one request through a handler. Called by [`serve!`].
#[doc(hidden)]
pub fn answer<F, R>(
    request: wasip2::http::types::IncomingRequest,
    response: wasip2::http::types::ResponseOutparam,
    handler: F,
) where
    F: FnOnce(Request<Body>) -> R,
    R: Future<Output = Result<Response<Body>, Error>>,
{
    let responder = wstd::http::server::Responder::new(response);
    wstd::runtime::block_on(async move {
        let request = match wstd::http::request::try_from_incoming(request) {
            Ok(request) => request,
            Err(error) => return responder.fail(error),
        };
        let answer = handler(request).await.unwrap_or_else(|error| {
            crate::log::error(&format!("request failed: {error:#}"));
            status(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        });
        if let Err(error) = responder.respond(answer).await {
            // The caller has gone away; there is nobody left to tell but the log.
            crate::log::warn(&format!("response not delivered: {error:#}"));
        }
    });
}

/// A plain-text response.
///
/// ```
/// use coracle_sdk::http::{StatusCode, status};
/// let answer = status(StatusCode::NOT_FOUND, "no such page\n");
/// assert_eq!(answer.status(), 404);
/// ```
pub fn status(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// A JSON response with status 200.
///
/// # Errors
/// When the value cannot be written as JSON.
///
/// ```
/// use coracle_sdk::http;
/// let answer = http::json(&["a", "b"]).unwrap();
/// assert_eq!(answer.headers()["content-type"], "application/json");
/// ```
pub fn json<T: Serialize>(value: &T) -> Result<Response<Body>, Error> {
    let mut response = Response::new(Body::from_json(value)?);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

/// How long a call waits for a connection and for the first byte of the answer, unless [`send`] is given a client of its own.
pub const CALL_TIMEOUT_SECONDS: u64 = 10;

/// Sends a request, to another service of the cluster by its name (`http://api/items`) or fully (`http://api.shop.svc.cluster.local:8080/`).
///
/// # Errors
/// When the name is unknown, nothing answers, or an answer takes longer than [`CALL_TIMEOUT_SECONDS`].
///
/// ```no_run
/// # async fn example() -> Result<(), coracle_sdk::http::Error> {
/// use coracle_sdk::http::{self, Body, Request};
/// let mut answer = http::send(Request::post("http://api/items").body(Body::from("tea"))?).await?;
/// println!("{} {}", answer.status(), answer.body_mut().str_contents().await?);
/// # Ok(())
/// # }
/// ```
pub async fn send(request: Request<Body>) -> Result<Response<Body>, Error> {
    let mut client = Client::new();
    client.set_connect_timeout(Duration::from_secs(CALL_TIMEOUT_SECONDS));
    client.set_first_byte_timeout(Duration::from_secs(CALL_TIMEOUT_SECONDS));
    client.send(request).await
}

/// Fetches a JSON document.
///
/// # Errors
/// As [`send`]; also when the status is not 2xx or the body is not the JSON expected.
///
/// ```no_run
/// # async fn example() -> Result<(), coracle_sdk::http::Error> {
/// let items: Vec<String> = coracle_sdk::http::get_json("http://api/items").await?;
/// # Ok(())
/// # }
/// ```
pub async fn get_json<T: DeserializeOwned>(uri: &str) -> Result<T, Error> {
    let mut response = send(Request::get(uri).body(Body::empty())?).await?;
    if !response.status().is_success() {
        return Err(Error::msg(format!("GET {uri}: {}", response.status())));
    }
    response.body_mut().json().await
}
