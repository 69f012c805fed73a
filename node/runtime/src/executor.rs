//! The threads that run guests: one per core, each with its own run queue that lets the container with the least weighted CPU time go first
//! (tokio's scheduler has no weights). A guest yields after a bounded slice, so the queue decides about a thousand times a second.

use std::{
    collections::{BTreeSet, HashMap},
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::meter::{Meter, Metered};

/// Tasks handed to a thread that it has not taken yet. Beyond it whoever spawns is refused: the thread is hopelessly behind.
const INBOX: usize = 65_536;
/// After so long the queue lets the thread look at its timers and sockets.
const ROUND: Duration = Duration::from_millis(1);

/// A task of a container.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A new task for a thread.
struct Arrival {
    task: Task,
    meter: Arc<Meter>,
    weight: u64,
}

/// The threads.
pub struct Executor {
    inboxes: Vec<mpsc::Sender<Arrival>>,
    loads: Arc<Vec<AtomicUsize>>,
}

/// A thread of the executor, chosen for a pod: what its containers say to each other then never crosses cores.
#[derive(Clone)]
pub struct Place {
    inbox: mpsc::Sender<Arrival>,
    thread: usize,
    loads: Arc<Vec<AtomicUsize>>,
}

/// The thread has more work than it will ever do.
#[derive(Debug, thiserror::Error)]
#[error("the executor thread takes no more tasks")]
pub struct Overloaded;

impl Executor {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let loads = Arc::new(
            (0..threads)
                .map(|_| AtomicUsize::new(0))
                .collect::<Vec<_>>(),
        );
        let mut inboxes = Vec::with_capacity(threads);
        for index in 0..threads {
            let (inbox, arrivals) = mpsc::channel(INBOX);
            let loads = Arc::clone(&loads);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            thread::Builder::new()
                .name(format!("guests-{index}"))
                .spawn(move || {
                    runtime.block_on(run(arrivals, &loads, index));
                })?;
            inboxes.push(inbox);
        }
        Ok(Self { inboxes, loads })
    }

    /// The thread with the fewest tasks.
    #[must_use]
    pub fn place(&self) -> Place {
        let loads = self
            .loads
            .iter()
            .map(|load| load.load(Ordering::Relaxed))
            .enumerate();
        let thread = loads
            .min_by_key(|(_, load)| *load)
            .map_or(0, |(index, _)| index);
        self.place_on(thread)
    }

    /// A thread by number, modulo how many there are.
    #[must_use]
    pub fn place_on(&self, thread: usize) -> Place {
        let thread = thread % self.inboxes.len().max(1);
        // There is at least one thread.
        let inbox = self.inboxes.get(thread).or(self.inboxes.first()).cloned();
        let inbox = inbox.unwrap_or_else(|| mpsc::channel(1).0);
        Place {
            inbox,
            thread,
            loads: Arc::clone(&self.loads),
        }
    }
}

impl Place {
    /// Runs a task, charged to `meter` and weighted by thousandths of a core.
    ///
    /// # Errors
    /// When the thread takes no more.
    pub fn spawn(
        &self,
        meter: &Arc<Meter>,
        weight_millis: u32,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Overloaded> {
        let metered = Metered::new(Arc::clone(meter), AssertUnwindSafe(task).catch_unwind());
        let task = Box::pin(async move {
            if let Err(panic) = metered.await {
                // The task's owner sees its channels close and reports a fault of the host.
                let message = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                tracing::error!(
                    message = message.unwrap_or_default(),
                    "a guest's task panicked in the host"
                );
            }
        });
        let arrival = Arrival {
            task,
            meter: Arc::clone(meter),
            weight: u64::from(weight_millis.max(1)),
        };
        self.inbox.try_send(arrival).map_err(|_| Overloaded)?;
        if let Some(load) = self.loads.get(self.thread) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A task of the queue.
struct Entry {
    task: Task,
    meter: Arc<Meter>,
    weight: u64,
    /// CPU time divided by weight, plus what the queue was at when the task came.
    virtual_time: u64,
    waker: Arc<TaskWaker>,
    ready: bool,
}

/// Which tasks were woken, from any thread.
#[derive(Default)]
struct Woken {
    tasks: Mutex<Vec<u64>>,
    queue: Mutex<Option<Waker>>,
}

struct TaskWaker {
    id: u64,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.tasks.lock().push(self.id);
        let queue = self.woken.queue.lock().take();
        if let Some(queue) = queue {
            queue.wake();
        }
    }
}

/// The run queue of one thread.
struct RunQueue<'a> {
    entries: HashMap<u64, Entry>,
    /// Ready tasks by virtual time.
    ready: BTreeSet<(u64, u64)>,
    woken: Arc<Woken>,
    next_id: u64,
    /// The virtual time of the last task run: newcomers and sleepers start no earlier, so that sleeping saves nothing up.
    floor: u64,
    load: Option<&'a AtomicUsize>,
}

/// Runs a thread until its executor is gone and its tasks have ended.
async fn run(mut arrivals: mpsc::Receiver<Arrival>, loads: &[AtomicUsize], thread: usize) {
    let mut queue = RunQueue {
        entries: HashMap::new(),
        ready: BTreeSet::new(),
        woken: Arc::default(),
        next_id: 0,
        floor: 0,
        load: loads.get(thread),
    };
    let mut open = true;
    poll_fn(move |context| {
        while open {
            match arrivals.poll_recv(context) {
                Poll::Ready(Some(arrival)) => queue.admit(arrival),
                Poll::Ready(None) => open = false,
                Poll::Pending => break,
            }
        }
        queue.round(context);
        if !open && queue.entries.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl RunQueue<'_> {
    fn admit(&mut self, arrival: Arrival) {
        let id = self.next_id;
        self.next_id += 1;
        let waker = Arc::new(TaskWaker {
            id,
            woken: Arc::clone(&self.woken),
        });
        let entry = Entry {
            task: arrival.task,
            meter: arrival.meter,
            weight: arrival.weight,
            virtual_time: self.floor,
            waker,
            ready: true,
        };
        self.ready.insert((entry.virtual_time, id));
        self.entries.insert(id, entry);
    }

    fn collect_woken(&mut self) {
        let woken = std::mem::take(&mut *self.woken.tasks.lock());
        for id in woken {
            if let Some(entry) = self.entries.get_mut(&id)
                && !entry.ready
            {
                entry.ready = true;
                entry.virtual_time = entry.virtual_time.max(self.floor);
                self.ready.insert((entry.virtual_time, id));
            }
        }
    }

    /// Runs tasks for about [`ROUND`], least virtual time first.
    fn round(&mut self, context: &Context<'_>) {
        *self.woken.queue.lock() = Some(context.waker().clone());
        let began = Instant::now();
        loop {
            self.collect_woken();
            let Some((virtual_time, id)) = self.ready.pop_first() else {
                return;
            };
            self.floor = self.floor.max(virtual_time);
            self.run_one(id);
            if began.elapsed() >= ROUND {
                // Timers and sockets of this thread's tokio runtime get their turn, then this goes on.
                context.waker().wake_by_ref();
                return;
            }
        }
    }

    fn run_one(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.ready = false;
        let waker = Waker::from(Arc::clone(&entry.waker));
        let before = entry.meter.cpu_nanos();
        let polled = entry.task.as_mut().poll(&mut Context::from_waker(&waker));
        // At least a little, so that a task that is always ready and uses nothing measurable moves back too.
        let spent = entry.meter.cpu_nanos().saturating_sub(before).max(1000);
        entry.virtual_time = entry
            .virtual_time
            .saturating_add(spent.saturating_mul(1000) / entry.weight);
        if polled.is_ready() {
            self.entries.remove(&id);
            if let Some(load) = self.load {
                load.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Burns about a tenth of a millisecond of CPU, then lets others run.
    async fn slice() {
        let until = Instant::now() + Duration::from_micros(100);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        // As a guest that is out of fuel yields: ready again at once. (tokio's yield waits for the thread's next round.)
        let mut yielded = false;
        poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn busy_tasks_share_a_thread_by_weight() {
        let executor = Executor::start(1).unwrap();
        let place = executor.place();
        let (light, heavy) = (Meter::new(None), Meter::new(None));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (ended, waiting) = std::sync::mpsc::channel();
        for (meter, weight) in [(&light, 100), (&heavy, 300)] {
            let (stop, ended) = (Arc::clone(&stop), ended.clone());
            let task = async move {
                while !stop.load(Ordering::Relaxed) {
                    slice().await;
                }
                ended.send(()).unwrap();
            };
            place.spawn(meter, weight, task).unwrap();
        }
        // Until enough CPU time was spent to compare, however busy the machine is.
        let deadline = Instant::now() + Duration::from_secs(20);
        while heavy.cpu_nanos() < 300_000_000 && Instant::now() < deadline {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            waiting.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        let ratio = heavy.cpu_nanos() as f64 / light.cpu_nanos() as f64;
        assert!((2.5..3.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_task_that_panics_takes_nobody_with_it() {
        let executor = Executor::start(1).unwrap();
        let place = executor.place();
        let meter = Meter::new(None);
        place
            .spawn(&meter, 1, async { panic!("meant by the test") })
            .unwrap();
        let (ended, waiting) = std::sync::mpsc::channel();
        place
            .spawn(&meter, 1, async move { ended.send(7).unwrap() })
            .unwrap();
        assert_eq!(waiting.recv_timeout(Duration::from_secs(10)), Ok(7));
    }
}
