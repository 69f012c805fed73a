//! One HTTP request from outside, as plain as can be: what comes back is shown as it came.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// One HTTP/1.1 request; the answer as it came, head and body. Nothing when nobody answers.
#[must_use]
pub fn http(address: &str, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let length = body.len();
    let form = "application/x-www-form-urlencoded";
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: {form}\r\ncontent-length: {length}\r\n\r\n{body}").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
}
