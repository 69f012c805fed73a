//! Standard input, shared by all commands: read by one task, so that an interruption (^C, which the node sends as a byte where the input is a terminal) is
//! seen while commands that do not read are running.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use wstd::{io::AsyncRead as _, runtime::Task};

/// What interrupts.
const INTERRUPT: u8 = 0x03;
/// Bytes that wait for a command to read them.
const CAPACITY: usize = 64 << 10;
/// Read at a time.
const READ_BYTES: usize = 16 << 10;

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    has_ended: bool,
    is_interrupted: bool,
    wakers: Vec<Waker>,
    reading: Option<Task<()>>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

fn with<T>(look: impl FnOnce(&mut State) -> T) -> T {
    STATE.with(|state| look(&mut state.borrow_mut()))
}

impl State {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        self.wakers.push(context.waker().clone());
        Poll::Pending
    }
}

/// Whether somebody types.
pub fn is_terminal() -> bool {
    wstd::io::stdin().is_terminal()
}

/// Begins to read, once.
fn begin() {
    if with(|state| state.reading.is_some()) {
        return;
    }
    let task = wstd::runtime::spawn(read_all());
    with(|state| state.reading = Some(task));
}

async fn read_all() {
    let mut stdin = wstd::io::stdin();
    let interrupts = stdin.is_terminal();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let room = poll_fn(|context| {
            with(|state| {
                if state.bytes.len() < CAPACITY {
                    Poll::Ready(())
                } else {
                    state.wait(context)
                }
            })
        });
        room.await;
        let read = stdin.read(&mut buffer).await.unwrap_or(0);
        with(|state| {
            state.has_ended |= read == 0;
            for byte in &buffer[..read] {
                if interrupts && *byte == INTERRUPT {
                    state.is_interrupted = true;
                    state.bytes.clear();
                } else {
                    state.bytes.push_back(*byte);
                }
            }
            state.wake();
        });
        if read == 0 {
            return;
        }
    }
}

/// The next bytes; none at the end.
pub async fn read(limit: usize) -> Vec<u8> {
    begin();
    poll_fn(|context| {
        with(|state| {
            if state.bytes.is_empty() && !state.has_ended {
                return state.wait(context);
            }
            let length = limit.min(state.bytes.len());
            let read = state.bytes.drain(..length).collect();
            state.wake();
            Poll::Ready(read)
        })
    })
    .await
}

/// Waits for an interruption, which is over then.
pub async fn interrupted() {
    begin();
    poll_fn(|context| {
        with(|state| {
            if std::mem::take(&mut state.is_interrupted) {
                Poll::Ready(())
            } else {
                state.wait(context)
            }
        })
    })
    .await;
}
