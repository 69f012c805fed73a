//! Damages every file of a store in turn: shortened, with a bit flipped, gone. The store refuses to open or holds everything; an older state is
//! never an answer.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use coracle_store::{Op, SledStorage, Storage, StoreError};

use crate::{
    chance::Chance,
    child::{self, Orders, PATIENCE_OF_FOUR},
    folder,
    workload::{Told, block_on, inspect, options},
};

/// A store that went through checkpoints and a restart, closed in order or killed.
fn filled(folder: &Path, close: bool) -> Told {
    let mut told = Told::default();
    run(folder, 30, &mut told);
    run(folder, if close { 30 } else { 100_000 }, &mut told);
    told
}

/// Lets a child take so many steps; one that would take too many is killed on the way.
fn run(folder: &Path, steps: u64, told: &mut Told) {
    let orders = Orders {
        steps,
        stop: false,
        patience: PATIENCE_OF_FOUR,
    };
    let mut child = child::command(folder, &orders)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        told.hear(&line.unwrap());
        if !killed && told.steps.iter().sum::<u64>() > 400 {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
}

/// What opening a damaged store may come to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Whole,
}

/// Opens it; fails when something acknowledged is missing.
fn outcome(folder: &Path, told: &Told, damage: &str) -> Outcome {
    match SledStorage::open(folder, &options()) {
        Err(StoreError::Corrupt { .. } | StoreError::Unsupported { .. }) => Outcome::Refused,
        Err(other) => panic!("{damage}: {other}"),
        Ok(store) => {
            let counts = block_on(inspect(&store));
            told.check(store.revision().0, &counts);
            Outcome::Whole
        }
    }
}

/// Places in a file that hold something.
fn places(bytes: &[u8], chance: &mut Chance, number: usize) -> Vec<usize> {
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    (0..number.min(used.len()))
        .map(|_| used[chance.below(used.len() as u64) as usize])
        .collect()
}

/// Tries each damage on a copy; gives how often the store refused, by file.
fn damaged(closed: bool) -> Vec<(PathBuf, usize)> {
    let original = folder::temporary();
    let told = filled(original.path(), closed);
    let mut chance = Chance::new(if closed { 4 } else { 5 });
    let mut refusals = Vec::new();
    for file in folder::files(original.path()) {
        let name = file.strip_prefix(original.path()).unwrap().to_owned();
        let good = fs::read(&file).unwrap();
        let mut tries: Vec<(String, Option<Vec<u8>>)> = vec![("gone".into(), None)];
        let used = places(&good, &mut chance, 6);
        let ends = used
            .iter()
            .copied()
            .chain([0, good.len().saturating_sub(1)]);
        tries.extend(ends.map(|end| (format!("cut to {end}"), Some(good[..end].to_vec()))));
        for at in places(&good, &mut chance, 10) {
            let mut bad = good.clone();
            bad[at] ^= 1 << chance.below(8);
            tries.push((format!("bit flipped at {at}"), Some(bad)));
        }
        let (mut refused, number) = (0, tries.len());
        for (what, content) in tries {
            let copy = folder::temporary();
            folder::copy(original.path(), copy.path());
            match content {
                Some(content) => fs::write(copy.path().join(&name), content).unwrap(),
                None => fs::remove_file(copy.path().join(&name)).unwrap(),
            }
            let damage = format!("{}: {what}", name.display());
            refused += usize::from(outcome(copy.path(), &told, &damage) == Outcome::Refused);
        }
        println!("{}: damages {number} refusals {refused}", name.display());
        refusals.push((name, refused));
    }
    refusals
}

fn refusals(of: &[(PathBuf, usize)], beginning: &str) -> usize {
    of.iter()
        .filter(|(name, _)| name.to_string_lossy().starts_with(beginning))
        .map(|(_, refused)| refused)
        .sum()
}

#[test]
fn a_damaged_store_that_was_closed_is_refused_or_whole() {
    let found = damaged(true);
    assert!(
        found.len() > 6,
        "the store is smaller than expected: {found:?}"
    );
    for part in ["log/log-", "sled/db", "sled/conf", "sled/snap", "format"] {
        assert!(
            refusals(&found, part) > 4,
            "{part} is hardly checked: {found:?}"
        );
    }
}

#[test]
fn a_damaged_store_that_was_killed_is_refused_or_whole() {
    let found = damaged(false);
    assert!(refusals(&found, "log/log-") > 4, "{found:?}");
}

#[test]
fn a_store_without_log_or_checkpoint_is_refused() {
    let original = folder::temporary();
    filled(original.path(), true);
    for gone in ["log", "sled"] {
        let copy = folder::temporary();
        folder::copy(original.path(), copy.path());
        fs::remove_dir_all(copy.path().join(gone)).unwrap();
        let opened = SledStorage::open(copy.path(), &options());
        assert!(
            matches!(opened, Err(StoreError::Corrupt { .. })),
            "without {gone}"
        );
    }
}

#[test]
fn a_newer_format_is_refused_with_what_to_do() {
    let folder = folder::temporary();
    drop(SledStorage::open(folder.path(), &options()).unwrap());
    fs::write(folder.path().join("format"), "coracle-store 3\n").unwrap();
    match SledStorage::open(folder.path(), &options()) {
        Err(StoreError::Unsupported { reason }) => {
            assert!(
                reason.contains("format 3") && reason.contains("newer"),
                "{reason}"
            );
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

#[test]
fn a_torn_end_is_cut_off_and_work_goes_on() {
    let folder = folder::temporary();
    let told = filled(folder.path(), true);
    let newest = folder::files(&folder.path().join("log"))
        .into_iter()
        .rfind(|path| path.to_string_lossy().contains("log-"))
        .unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[end + 20..end + 32].copy_from_slice(b"cfr2\x40\0\0\0torn");
    fs::write(&newest, bytes).unwrap();
    for (number, _) in (0..3).enumerate() {
        assert_eq!(outcome(folder.path(), &told, "torn"), Outcome::Whole);
        let store = SledStorage::open(folder.path(), &options()).unwrap();
        block_on(store.commit(vec![Op::create(format!("/n/{number}"), "")])).unwrap();
    }
    let store = SledStorage::open(folder.path(), &options()).unwrap();
    assert!(block_on(store.get("/n/2")).unwrap().is_some());
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = folder::temporary();
    let first = SledStorage::open(folder.path(), &options()).unwrap();
    let second = SledStorage::open(folder.path(), &options());
    assert!(
        matches!(second, Err(StoreError::Unavailable { ref reason }) if reason.contains("in use"))
    );
    drop(first);
    SledStorage::open(folder.path(), &options()).unwrap();
}
