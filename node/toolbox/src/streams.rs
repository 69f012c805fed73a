//! What commands read from and write to: the module's standard streams, files, pipes, nothing.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read as _, Write as _},
    rc::Rc,
};

use wstd::io::AsyncWrite as _;

use crate::{pipe, stdin};

/// Read at a time.
pub const PIECE: usize = 32 << 10;

/// Where a command reads from. Clones read on where the other has stopped.
#[derive(Clone)]
pub enum Input {
    Stdin,
    File(Rc<File>),
    Pipe(Rc<pipe::Reader>),
    Empty,
}

impl Input {
    /// The next bytes; none at the end.
    pub async fn read(&mut self) -> io::Result<Vec<u8>> {
        self.read_at_most(PIECE).await
    }

    /// At most `limit` of the next bytes; none at the end.
    pub async fn read_at_most(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Stdin => Ok(stdin::read(limit).await),
            Self::Pipe(reader) => Ok(reader.read(limit).await),
            Self::Empty => Ok(Vec::new()),
            Self::File(file) => {
                // A file is never waited for: others have their turn in between.
                futures_yield().await;
                let mut piece = vec![0; limit];
                let length = (&**file).read(&mut piece)?;
                piece.truncate(length);
                Ok(piece)
            }
        }
    }

    /// A line without its end, and no more: what comes after it is the next command's.
    pub async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            match self.read_at_most(1).await?.first() {
                None => return Ok((!line.is_empty()).then_some(line)),
                Some(b'\n') => return Ok(Some(line)),
                Some(byte) => line.push(*byte),
            }
        }
    }

    /// All there is.
    pub async fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let piece = self.read().await?;
            if piece.is_empty() {
                return Ok(all);
            }
            all.extend(piece);
        }
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Stdin) && stdin::is_terminal()
    }
}

/// Lines of an input.
pub struct Lines {
    input: Input,
    buffer: Vec<u8>,
    has_ended: bool,
}

impl Lines {
    pub fn new(input: Input) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            has_ended: false,
        }
    }

    /// What has come to a file since its end was reached.
    pub async fn more(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.has_ended = false;
        self.next().await
    }

    /// The next line with its end; none at the end.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.buffer[looked..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(looked + end + 1);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            looked = self.buffer.len();
            if self.has_ended {
                let last = std::mem::take(&mut self.buffer);
                return Ok((!last.is_empty()).then_some(last));
            }
            let piece = self.input.read().await?;
            self.has_ended = piece.is_empty();
            self.buffer.extend(piece);
        }
    }
}

/// Where a command writes to.
#[derive(Clone)]
pub enum Output {
    Stdout,
    Stderr,
    File(Rc<File>),
    Pipe(pipe::Writer),
    Memory(Rc<RefCell<Vec<u8>>>),
    Null,
}

impl Output {
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => wstd::io::stdout().write_all(bytes).await,
            Self::Stderr => wstd::io::stderr().write_all(bytes).await,
            Self::Pipe(writer) => writer.write(bytes).await,
            Self::File(file) => {
                futures_yield().await;
                (&**file).write_all(bytes)
            }
            Self::Memory(memory) => {
                futures_yield().await;
                memory.borrow_mut().extend_from_slice(bytes);
                Ok(())
            }
            Self::Null => {
                futures_yield().await;
                Ok(())
            }
        }
    }
}

/// Lets other tasks go on.
async fn futures_yield() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if has_yielded {
            return std::task::Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
