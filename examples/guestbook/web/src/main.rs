//! The guestbook's front end: a page with a form, rendered from what the API lists.

use coracle_sdk::{
    config, health,
    http::{self, Body, Error, HeaderValue, Method, Request, Response, StatusCode, header},
};
use serde::Deserialize;

coracle_sdk::serve!(web);

#[derive(Deserialize)]
struct Entry {
    number: u64,
    text: String,
}

async fn web(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    if let Some(answer) = health::answer(&request, true) {
        return Ok(answer);
    }
    let api: String = config::var_or("API", "http://guestbook-api".to_owned())?;
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => {
            let entries: Vec<Entry> = http::get_json(&format!("{api}/entries")).await?;
            let mut response = Response::new(page(&entries).into());
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            );
            Ok(response)
        }
        (&Method::POST, "/") => {
            let body = request.body_mut().contents().await?;
            let Some(text) = form_value(body, "text") else {
                return Ok(http::status(
                    StatusCode::BAD_REQUEST,
                    "the form has no text\n",
                ));
            };
            let answer =
                http::send(Request::post(format!("{api}/entries")).body(Body::from(text))?).await?;
            if !answer.status().is_success() {
                return Ok(answer);
            }
            let mut response = http::status(StatusCode::SEE_OTHER, "");
            response
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static("/"));
            Ok(response)
        }
        _ => Ok(http::status(
            StatusCode::NOT_FOUND,
            "the guestbook is at /\n",
        )),
    }
}

fn page(entries: &[Entry]) -> String {
    let list: String = entries
        .iter()
        .rev()
        .map(|entry| {
            format!(
                "<li value=\"{}\">{}</li>\n",
                entry.number,
                escape(&entry.text)
            )
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Guestbook</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{{font:1rem/1.5 system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem}}input{{width:70%}}</style>\n\
         <h1>Guestbook</h1>\n<form method=\"post\" action=\"/\">\
         <label>Your words <input name=\"text\" required maxlength=\"500\" autofocus></label> <button>Sign</button></form>\n\
         <ol reversed>\n{list}</ol>\n</html>\n"
    )
}

/// Makes text harmless in HTML.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The value of `name` in an `application/x-www-form-urlencoded` body.
fn form_value(body: &[u8], name: &str) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let (_, value) = body
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (
                    char::from(rest.next()?).to_digit(16)?,
                    char::from(rest.next()?).to_digit(16)?,
                );
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}
