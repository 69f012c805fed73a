//! Kills a writing process at random moments and checks that whatever it was told is durable is there, whole, and that revisions never fall.
//! The process is this test binary itself, told by its environment to be the writer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use coracle_store::{Expect, List, Op, SledOptions, SledStorage, Storage};

/// In the environment: the folder that a child writes to.
const CHILD: &str = "CORACLE_KILL_TEST_FOLDER";
/// How often a child is killed.
const ROUNDS: u32 = 25;

fn options() -> SledOptions {
    SledOptions {
        segment_bytes: 64 << 10,
        ..SledOptions::default()
    }
}

/// Writes pairs of keys in one transaction until killed; prints each acknowledged number with its revision.
#[test]
fn child_writes_until_killed() {
    let Ok(folder) = std::env::var(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = SledStorage::open(Path::new(&folder), &options()).unwrap();
        println!("\nopened {}", store.revision());
        let first = newest(&store).await;
        for number in first + 1..first + 100_000 {
            let value = format!("{number} {}", "x".repeat((number % 97) as usize * 31));
            let ops = ["left", "right"].map(|side| Op {
                key: format!("/pairs/{side}/{}", number % 50),
                expect: Expect::Any,
                ..Op::create("", value.clone())
            });
            let beat = Op {
                expect: Expect::Any,
                ..Op::create("/beat", "").volatile()
            };
            store.commit(vec![beat]).await.unwrap();
            let revision = store.commit(ops.to_vec()).await.unwrap();
            println!("acked {number} {revision}");
        }
    });
}

/// The highest number stored; fails when a pair is torn.
async fn newest(store: &SledStorage) -> u64 {
    let sides = ["left", "right"].map(|side| List {
        prefix: format!("/pairs/{side}/"),
        ..List::default()
    });
    let mut numbers: Vec<BTreeMap<String, u64>> = Vec::new();
    for list in sides {
        let page = store.list(list).await.unwrap();
        let side = page.records.iter().map(|record| {
            let text = String::from_utf8(record.value.to_vec()).unwrap();
            let (number, _) = text.split_once(' ').unwrap();
            (
                record.key.rsplit('/').next().unwrap().to_owned(),
                number.parse().unwrap(),
            )
        });
        numbers.push(side.collect());
    }
    assert_eq!(numbers[0], numbers[1], "half a transaction");
    numbers[0].values().copied().max().unwrap_or(0)
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acked = (0, 0);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_until_killed", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A different number of acknowledgements each round puts the kill at a different place: in a group, a rotation, a checkpoint.
        let until = 7 + round * 37 % 211;
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                ["opened", revision] => {
                    let revision: u64 = revision.parse().unwrap();
                    assert!(
                        revision >= acked.1,
                        "revision fell from {} to {revision}",
                        acked.1
                    );
                }
                ["acked", number, revision] => {
                    acked = (number.parse().unwrap(), revision.parse().unwrap());
                    seen += 1;
                }
                _ => {}
            }
            if seen == until {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= until, "the child ended by itself in round {round}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (found, revision) = runtime.block_on(async {
            let store = SledStorage::open(folder.path(), &options()).unwrap();
            (newest(&store).await, store.revision().0)
        });
        assert!(
            found >= acked.0,
            "lost: {} was acknowledged, {found} is there (round {round})",
            acked.0
        );
        assert!(revision >= acked.1);
    }
}
