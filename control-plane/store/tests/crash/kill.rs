//! Kills a writing process at random moments, time and again on one store. `CORACLE_TORTURE_KILLS` sets how often.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    chance::Chance,
    child::{self, Orders, PATIENCE_OF_FOUR},
    folder,
    workload::{Told, verify},
};

/// A child that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let rounds = crate::rounds("CORACLE_TORTURE_KILLS", 500);
    let mut chance = Chance::new(1);
    let folder = folder::temporary();
    let mut told = Told::default();
    for round in 0..rounds {
        let orders = Orders {
            steps: 100_000,
            stop: false,
            patience: PATIENCE_OF_FOUR,
        };
        let mut child = child::command(folder.path(), &orders)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (heard, hear) = mpsc::sync_channel(1024);
        let reader = thread::spawn(move || {
            for line in lines {
                heard.send(line.unwrap()).unwrap();
            }
        });
        // Mostly after some acknowledgements, sometimes after a time, which may be while it opens.
        let acks = 1 + chance.below(60);
        let deadline = chance
            .percent(25)
            .then(|| Instant::now() + Duration::from_micros(chance.below(40_000)));
        let (mut seen, mut killed) = (0, false);
        loop {
            let wait = deadline.map_or(SILENCE, |at| at.saturating_duration_since(Instant::now()));
            let line = if killed {
                hear.recv()
                    .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                hear.recv_timeout(wait)
            };
            match line {
                Ok(line) => {
                    seen += u64::from(line.starts_with("ack"));
                    told.hear(&line);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    assert!(deadline.is_some(), "round {round}: the child hangs");
                }
            }
            let due = deadline.map_or(seen >= acks, |at| Instant::now() >= at);
            if due && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        reader.join().unwrap();
        child.wait().unwrap();
        assert!(killed, "round {round}: the child ended by itself");
    }
    verify(folder.path(), &told);
    println!("kills {rounds} steps {}", told.steps.iter().sum::<u64>());
}
