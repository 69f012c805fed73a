//! Disks that are full and disks that fail. Writes stop with a word why, reads go on, and what was acknowledged is there afterwards.

use nix::libc::{EIO, ENOSPC};

use crate::{
    child::{self, Orders, PATIENCE_OF_FOUR},
    disk::{Deed, Disk},
    folder,
    tracer::{self, Attempt},
    workload::{CLIENTS, Told, verify},
};

/// What a child said while `refuse` decided over its calls; what it was told must be there afterwards.
fn said(
    steps: u64,
    patience: u64,
    refuse: &mut dyn FnMut(&Attempt<'_>) -> Option<i32>,
) -> Vec<String> {
    let folder = folder::temporary();
    let mut command = child::command(
        folder.path(),
        &Orders {
            steps,
            stop: true,
            patience,
        },
    );
    let deeds = tracer::watch(&mut command, folder.path(), &Disk::default(), refuse);
    let mut told = Told::default();
    let mut said = Vec::new();
    for deed in deeds {
        if let Deed::Tell(line) = deed {
            told.hear(&line);
            said.push(line);
        }
    }
    verify(folder.path(), &told);
    said
}

fn count(said: &[String], beginning: &str) -> usize {
    said.iter()
        .filter(|line| line.starts_with(beginning))
        .count()
}

/// How many were acknowledged to somebody who had been refused before.
fn acks_after_refusal(said: &[String]) -> usize {
    let client = |line: &str| line.split(' ').nth(1).map(str::to_owned);
    let mut refused = std::collections::BTreeSet::new();
    let mut acks = 0;
    for line in said {
        if line.starts_with("refused") {
            refused.insert(client(line));
        } else if line.starts_with("ack") && refused.contains(&client(line)) {
            acks += 1;
        }
    }
    acks
}

fn is_log(attempt: &Attempt<'_>) -> bool {
    attempt.path.to_string_lossy().starts_with("log/log-")
}

#[test]
fn a_full_disk_stops_writes_until_there_is_room() {
    let mut writes = 0;
    let said = said(40, PATIENCE_OF_FOUR, &mut |attempt| {
        writes += u64::from(is_log(attempt) && !attempt.sync);
        (is_log(attempt) && !attempt.sync && (60..63).contains(&writes)).then_some(ENOSPC)
    });
    let first = said.iter().position(|line| line.starts_with("refused"));
    let first = first.expect("the disk was full and nobody was told");
    assert!(
        said[first].contains("No space left on device"),
        "{}",
        said[first]
    );
    assert!(said[first].contains("free some space"), "{}", said[first]);
    assert!(acks_after_refusal(&said) > 20, "writes did not go on");
    assert_eq!(count(&said, "read"), 1);
}

#[test]
fn after_a_failed_sync_nothing_is_written_and_reads_go_on() {
    let mut syncs = 0;
    let said = said(40, PATIENCE_OF_FOUR, &mut |attempt| {
        let log = is_log(attempt) && attempt.sync;
        syncs += u64::from(log);
        (log && syncs == 40).then_some(EIO)
    });
    let first = said.iter().position(|line| line.starts_with("refused"));
    let first = first.expect("the disk failed and nobody was told");
    assert!(
        said[first].contains("Input/output error"),
        "{}",
        said[first]
    );
    assert!(
        said[first].contains("writes have stopped"),
        "{}",
        said[first]
    );
    assert_eq!(acks_after_refusal(&said), 0, "a write after a failed sync");
    assert_eq!(count(&said, "refused"), 4 * CLIENTS);
    assert_eq!(count(&said, "read"), 1);
}

#[test]
fn a_failed_write_of_the_log_stops_writes_and_reads_go_on() {
    let mut writes = 0;
    let said = said(40, PATIENCE_OF_FOUR, &mut |attempt| {
        let log = is_log(attempt) && !attempt.sync;
        writes += u64::from(log);
        (log && writes == 50).then_some(EIO)
    });
    assert_eq!(acks_after_refusal(&said), 0, "a write after a failed write");
    assert_eq!(count(&said, "refused"), 4 * CLIENTS);
    assert_eq!(count(&said, "read"), 1);
}

#[test]
fn a_checkpoint_that_fails_is_tried_again() {
    let (mut logged, mut refused) = (0, 0);
    let said = said(60, u64::MAX, &mut |attempt| {
        logged += u64::from(is_log(attempt) && !attempt.sync);
        let tree = attempt.path.to_string_lossy() == "sled/db" && !attempt.sync;
        let fails = tree && logged > 20 && refused < 2;
        refused += u64::from(fails);
        fails.then_some(ENOSPC)
    });
    assert!(refused > 0, "nothing was checkpointed");
    for refusal in said.iter().filter(|line| line.starts_with("refused")) {
        assert!(refusal.contains("checkpoint: "), "{refusal}");
    }
    // Everybody came to the end, so it went on.
    assert_eq!(count(&said, "ack"), 60 * CLIENTS);
    assert_eq!(count(&said, "closed"), 1);
}
