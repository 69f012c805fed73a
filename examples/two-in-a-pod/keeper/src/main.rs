//! Keeps notes: a TCP server on the pod's loopback, out of reach for everyone but the pod's containers. Each line it receives is appended to
//! `/shared/notes`, a file of the pod's emptyDir volume, and acknowledged with `kept`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    rc::Rc,
};

use coracle_sdk::{
    log,
    net::{self, AsyncRead, AsyncWrite, TcpStream},
};

coracle_sdk::run!(keep);

/// The longest note taken.
const NOTE_LIMIT: usize = 1024;

async fn keep() -> io::Result<()> {
    let notes = Rc::new(
        OpenOptions::new()
            .create(true)
            .append(true)
            .open("/shared/notes")?,
    );
    let address = SocketAddr::from(([127, 0, 0, 1], 9000));
    log::info(&format!("keeping notes on {address}"));
    net::serve_on(address, move |stream| take(stream, Rc::clone(&notes))).await
}

async fn take(mut stream: TcpStream, notes: Rc<File>) -> io::Result<()> {
    let mut note = Vec::new();
    let mut chunk = [0; 256];
    while !note.ends_with(b"\n") {
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            n => note.extend_from_slice(&chunk[..n]),
        }
        if note.len() > NOTE_LIMIT {
            return stream.write_all(b"too long\n").await;
        }
    }
    notes.as_ref().write_all(&note)?;
    stream.write_all(b"kept\n").await
}
