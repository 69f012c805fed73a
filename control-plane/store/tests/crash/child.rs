//! The process that is killed, cut off and refused: this test binary itself, told by its environment to work on a store.

use std::{
    env,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use coracle_store::{Expect, Op, Revision, SledStorage, Storage, StoreError};
use nix::sys::signal::{Signal, raise};

use crate::workload::{self, CLIENTS, block_on, options};

/// The store's folder.
const FOLDER: &str = "CORACLE_CRASH_FOLDER";
/// How many steps each client takes before the store is closed.
const STEPS: &str = "CORACLE_CRASH_STEPS";
/// Whether to stop first, for whoever wants to look over the child's shoulder.
const STOP: &str = "CORACLE_CRASH_STOP";
/// How often a client asks again after a refusal before it gives up.
const PATIENCE: &str = "CORACLE_CRASH_PATIENCE";

/// What a child is to do.
pub(crate) struct Orders {
    /// Steps of each client.
    pub(crate) steps: u64,
    /// Stop before anything else.
    pub(crate) stop: bool,
    /// Refusals that each client bears.
    pub(crate) patience: u64,
}

/// What clients bear where nothing else is said.
pub(crate) const PATIENCE_OF_FOUR: u64 = 4;

/// The command that runs a child on `folder`.
pub(crate) fn command(folder: &Path, orders: &Orders) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "child::works_until_its_end",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .env(STEPS, orders.steps.to_string())
        .env(PATIENCE, orders.patience.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if orders.stop {
        command.env(STOP, "yes");
    }
    command
}

#[test]
fn works_until_its_end() {
    let Ok(folder) = env::var(FOLDER) else {
        return;
    };
    if env::var(STOP).is_ok() {
        raise(Signal::SIGSTOP).unwrap();
    }
    let steps = env::var(STEPS).unwrap().parse().unwrap();
    block_on(work(Path::new(&folder), steps));
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

async fn work(folder: &Path, steps: u64) {
    let store = SledStorage::open(folder, &options()).unwrap();
    let counts = workload::inspect(&store)
        .await
        .map(|count| count.to_string());
    say(&format!("found {} {}", store.revision(), counts.join(" ")));
    futures::future::join_all((0..CLIENTS).map(|client| serve(&store, client, steps))).await;
    // Reads go on whatever became of writes.
    workload::inspect(&store).await;
    say("read");
    drop(store);
    say("closed");
}

/// One client's steps. It ends early when the store has refused it a few times.
async fn serve(store: &SledStorage, client: usize, steps: u64) {
    let (first, mut seen) = workload::counted(store, client).await.unwrap();
    let mut step = first + 1;
    let patience: u64 = env::var(PATIENCE).unwrap().parse().unwrap();
    let mut refusals = 0;
    while step <= first + steps {
        match store.commit(workload::step(client, step, seen)).await {
            Ok(revision) => {
                say(&format!("ack {client} {step} {revision}"));
                (step, seen) = (step + 1, Some(revision));
            }
            Err(StoreError::Unavailable { reason }) => {
                refusals += 1;
                if refusals <= PATIENCE_OF_FOUR {
                    say(&format!("refused {client} {reason}"));
                }
                if refusals == patience {
                    return;
                }
                let (count, revision) = workload::counted(store, client).await.unwrap();
                (step, seen) = (count + 1, revision);
            }
            Err(other) => panic!("{other}"),
        }
        if client < 2 {
            beat(store, client, step).await;
        }
        if client == 0 && step.is_multiple_of(17) {
            let to = Revision(store.revision().0.saturating_sub(20));
            // A refusal is heard at the next step.
            let _ = store.compact(to).await;
        }
    }
}

/// A change that need not survive, but whose revision must not come again.
async fn beat(store: &SledStorage, client: usize, step: u64) {
    let beat = Op {
        expect: Expect::Any,
        ..Op::create(format!("/beat/{client}"), step.to_string())
    };
    if let Ok(revision) = store.commit(vec![beat.volatile()]).await {
        say(&format!("seen {revision}"));
    }
}
