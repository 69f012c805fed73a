//! Takes notes over HTTP: `POST /` hands the body to the keeper over the pod's loopback, `GET /` reads the file both share.

use std::{fs, io};

use coracle_sdk::{
    http::{self, Body, Error, Method, Request, Response, StatusCode},
    net::{self, AsyncRead, AsyncWrite},
};

coracle_sdk::serve!(front);

async fn front(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    match *request.method() {
        Method::GET => match fs::read_to_string("/shared/notes") {
            Ok(notes) => Ok(http::status(StatusCode::OK, notes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(http::status(StatusCode::OK, ""))
            }
            Err(error) => Err(error.into()),
        },
        Method::POST => {
            let note = request
                .body_mut()
                .str_contents()
                .await?
                .replace(['\n', '\r'], " ");
            let mut keeper = net::connect("localhost:9000").await?;
            keeper.write_all(format!("{note}\n").as_bytes()).await?;
            let mut answer = [0; 5];
            let mut filled = 0;
            while filled < answer.len() {
                match keeper.read(&mut answer[filled..]).await? {
                    0 => {
                        return Ok(http::status(
                            StatusCode::BAD_GATEWAY,
                            "the keeper hung up\n",
                        ));
                    }
                    n => filled += n,
                }
            }
            Ok(http::status(StatusCode::CREATED, "kept\n"))
        }
        _ => Ok(http::status(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET or POST\n",
        )),
    }
}
