//! The guestbook's API: `GET /entries` lists, `POST /entries` adds the body's text. Keeps nothing itself: the store does, over TCP.

use std::io;

use coracle_sdk::{
    config, health,
    http::{self, Body, Error, Method, Request, Response, StatusCode},
    net::{self, AsyncRead, AsyncWrite},
};
use serde::Serialize;

coracle_sdk::serve!(api);

/// The longest entry taken.
const ENTRY_LIMIT: usize = 500;
/// More than the store ever lists; an answer beyond it is not the store's.
const ANSWER_LIMIT: usize = 2 << 20;

#[derive(Serialize)]
struct Entry {
    number: u64,
    text: String,
}

async fn api(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    if let Some(answer) = health::answer(&request, true) {
        return Ok(answer);
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/entries") => {
            let answer = ask("LIST\n", "END\n").await?;
            let entries: Vec<Entry> = answer.lines().filter_map(parse).collect();
            http::json(&entries)
        }
        (&Method::POST, "/entries") => {
            let body = request.body_mut().contents().await?;
            let Ok(text) = std::str::from_utf8(body) else {
                return Ok(http::status(
                    StatusCode::BAD_REQUEST,
                    "an entry is text in UTF-8\n",
                ));
            };
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if text.is_empty() || text.len() > ENTRY_LIMIT {
                let why = format!("an entry has 1 to {ENTRY_LIMIT} bytes\n");
                return Ok(http::status(StatusCode::UNPROCESSABLE_ENTITY, why));
            }
            let answer = ask(&format!("ADD {text}\n"), "\n").await?;
            match answer.strip_prefix("OK ") {
                Some(number) => Ok(http::status(StatusCode::CREATED, number)),
                None => Err(Error::msg(format!("the store said {}", answer.trim()))),
            }
        }
        (_, "/entries") => Ok(http::status(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET or POST\n",
        )),
        _ => Ok(http::status(
            StatusCode::NOT_FOUND,
            "only /entries is here\n",
        )),
    }
}

fn parse(line: &str) -> Option<Entry> {
    let (number, text) = line.split_once(' ')?;
    Some(Entry {
        number: number.parse().ok()?,
        text: text.to_owned(),
    })
}

/// Sends one line to the store and reads until its answer ends with `end`.
async fn ask(line: &str, end: &str) -> Result<String, Error> {
    let address: String = config::var_or("STORE", "guestbook-store:6380".to_owned())?;
    let mut stream = net::connect(&address).await?;
    stream.write_all(line.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with(end.as_bytes()) {
        match stream.read(&mut chunk).await? {
            0 => {
                return Err(
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the store hung up").into(),
                );
            }
            n => answer.extend_from_slice(&chunk[..n]),
        }
        if answer.len() > ANSWER_LIMIT {
            return Err(Error::msg("the store's answer has no end"));
        }
    }
    Ok(String::from_utf8(answer)?)
}
