//! The thread that writes logs: files come to it when they have something, at the time they may be written.

use std::{
    cmp::Reverse, collections::BinaryHeap, io, sync::Arc, thread::JoinHandle, time::Instant,
};

use parking_lot::{Condvar, Mutex};

use super::LogFile;

/// Files that wait to be written, the earliest first. Bounded by the number of open files: each is in it at most once.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    heap: BinaryHeap<Reverse<Entry>>,
    next: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    number: u64,
    file: Arc<LogFile>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl Queue {
    pub(super) fn push(&self, due: Instant, file: Arc<LogFile>) {
        let mut waiting = self.shared.waiting.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.heap.push(Reverse(Entry { due, number, file }));
        drop(waiting);
        self.shared.changed.notify_one();
    }

    /// The next file whose time has come; waits for it. Nothing when the queue is closed and empty. Once it is closed, every time has come.
    fn pop(&self) -> Option<Arc<LogFile>> {
        let mut waiting = self.shared.waiting.lock();
        loop {
            let now = Instant::now();
            match waiting.heap.peek() {
                Some(Reverse(first)) if first.due <= now || waiting.is_closed => {
                    return waiting.heap.pop().map(|Reverse(entry)| entry.file);
                }
                Some(Reverse(first)) => {
                    let due = first.due;
                    self.shared.changed.wait_until(&mut waiting, due);
                }
                None if waiting.is_closed => return None,
                None => self.shared.changed.wait(&mut waiting),
            }
        }
    }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Queue,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start() -> io::Result<Self> {
        let queue = Queue::default();
        let of_thread = queue.clone();
        let thread = std::thread::Builder::new()
            .name("coracle-logs".to_owned())
            .spawn(move || {
                while let Some(file) = of_thread.pop() {
                    if let Some(due) = file.flush(Instant::now()) {
                        of_thread.push(due, file);
                    }
                }
            })?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    pub(super) fn close(&self) {
        self.queue.shared.waiting.lock().is_closed = true;
        self.queue.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes logs has failed");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}
