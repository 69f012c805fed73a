//! Damages the files of a closed store in turn. The store must refuse to open or hold everything; an older state is never an answer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::{fs, path::Path};

use coracle_store::{List, Op, SledOptions, SledStorage, Storage, StoreError};

fn options() -> SledOptions {
    SledOptions {
        segment_bytes: 8 << 10,
        ..SledOptions::default()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn filled(folder: &Path) {
    let store = SledStorage::open(folder, &options()).unwrap();
    block_on(async {
        for number in 0..200 {
            store
                .commit(vec![Op::create(format!("/n/{number:03}"), vec![b'v'; 100])])
                .await
                .unwrap();
        }
    });
}

fn count(folder: &Path) -> Result<usize, StoreError> {
    let store = SledStorage::open(folder, &options())?;
    Ok(block_on(store.list(List {
        prefix: "/n/".into(),
        ..List::default()
    }))?
    .records
    .len())
}

fn log_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("log-")
    });
    files.sort();
    files
}

#[test]
fn a_flipped_bit_in_the_log_is_never_a_silent_rollback() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let path = log_files(folder.path()).pop().unwrap();
    let good = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..good.len()).step_by(good.len() / 24) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(copy.path().join("log").join(path.file_name().unwrap()), bad).unwrap();
        match count(copy.path()) {
            Err(StoreError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
            Ok(found) => assert_eq!(found, 200, "byte {at}: opened with {found} of 200"),
        }
    }
    assert!(
        refused > 10,
        "only {refused} refusals: the test damages nothing"
    );
}

#[test]
fn a_missing_log_or_checkpoint_is_refused() {
    for gone in ["log", "sled"] {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        fs::remove_dir_all(folder.path().join(gone)).unwrap();
        assert!(
            matches!(count(folder.path()), Err(StoreError::Corrupt { .. })),
            "without {gone}"
        );
    }
}

#[test]
fn a_torn_end_is_cut_off_and_work_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let path = log_files(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"cfr1\x40\x00\x00\x00torn");
    fs::write(&path, bytes).unwrap();
    assert_eq!(count(folder.path()).unwrap(), 200);
    let store = SledStorage::open(folder.path(), &options()).unwrap();
    block_on(store.commit(vec![Op::create("/n/more", "")])).unwrap();
    drop(store);
    assert_eq!(count(folder.path()).unwrap(), 201);
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let first = SledStorage::open(folder.path(), &options()).unwrap();
    let second = SledStorage::open(folder.path(), &options());
    assert!(
        matches!(second, Err(StoreError::Unavailable { ref reason }) if reason.contains("in use"))
    );
    drop(first);
    SledStorage::open(folder.path(), &options()).unwrap();
}

#[test]
fn values_of_a_megabyte_survive_and_shrink() {
    let folder = tempfile::tempdir().unwrap();
    let big: Vec<u8> = (0..1_400_000_u32).map(|n| (n % 251) as u8).collect();
    for value in [big, b"small".to_vec()] {
        let store = SledStorage::open(folder.path(), &options()).unwrap();
        let op = Op {
            expect: coracle_store::Expect::Any,
            ..Op::create("/big", value.clone())
        };
        block_on(store.commit(vec![op])).unwrap();
        drop(store);
        for _ in 0..2 {
            let store = SledStorage::open(folder.path(), &options()).unwrap();
            assert_eq!(block_on(store.get("/big")).unwrap().unwrap().value, value);
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
