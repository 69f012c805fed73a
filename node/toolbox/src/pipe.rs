//! A pipe between two commands of a pipeline: bytes in memory, bounded. Whoever writes waits for whoever reads.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// Bytes that wait to be read, as a kernel's pipe has room for.
const CAPACITY: usize = 64 << 10;

#[derive(Default)]
struct Shared {
    bytes: VecDeque<u8>,
    writers: usize,
    has_reader: bool,
    wakers: Vec<Waker>,
}

impl Shared {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        self.wakers.push(context.waker().clone());
        Poll::Pending
    }
}

/// The end that is read.
pub struct Reader(Rc<RefCell<Shared>>);

/// An end that is written to.
pub struct Writer(Rc<RefCell<Shared>>);

pub fn new() -> (Writer, Reader) {
    let shared = Rc::new(RefCell::new(Shared {
        writers: 1,
        has_reader: true,
        ..Shared::default()
    }));
    (Writer(Rc::clone(&shared)), Reader(shared))
}

impl Reader {
    /// The next bytes; none at the end.
    pub async fn read(&self, limit: usize) -> Vec<u8> {
        poll_fn(|context| {
            let mut shared = self.0.borrow_mut();
            if shared.bytes.is_empty() && shared.writers > 0 {
                return shared.wait(context);
            }
            let length = limit.min(shared.bytes.len());
            let read = shared.bytes.drain(..length).collect();
            shared.wake();
            Poll::Ready(read)
        })
        .await
    }
}

impl Writer {
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|context| {
                let mut shared = self.0.borrow_mut();
                if !shared.has_reader {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                let room = CAPACITY - shared.bytes.len();
                if room == 0 {
                    return shared.wait(context);
                }
                let length = room.min(bytes.len());
                shared.bytes.extend(&bytes[..length]);
                shared.wake();
                Poll::Ready(io::Result::Ok(length))
            });
            bytes = &bytes[written.await?..];
        }
        Ok(())
    }
}

impl Clone for Writer {
    fn clone(&self) -> Self {
        self.0.borrow_mut().writers += 1;
        Self(Rc::clone(&self.0))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.writers -= 1;
        shared.wake();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.has_reader = false;
        shared.bytes.clear();
        shared.wake();
    }
}
