//! What the embedded store does that others need not: restarts after which everything is as before, crashes after which what is volatile is gone
//! and nothing else, and numbers.

use std::{fs, path::Path};

use super::*;
use crate::{Change, Expect, Op};

fn options() -> SledOptions {
    SledOptions {
        segment_bytes: 2 << 10,
        ..SledOptions::default()
    }
}

fn open(folder: &Path) -> SledStorage {
    SledStorage::open(folder, &options()).unwrap()
}

fn put(key: &str, value: &str) -> Op {
    Op {
        expect: Expect::Any,
        ..Op::create(key, value.to_owned())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The store as it would be after a kill now.
fn crashed(folder: &Path) -> (tempfile::TempDir, SledStorage) {
    let other = test_folder();
    copy(folder, other.path());
    let store = open(other.path());
    (other, store)
}

async fn told(
    store: &SledStorage,
    prefix: &str,
    after: Revision,
) -> Result<Vec<(u64, String)>, StoreError> {
    let mut watch = store.watch(prefix, after).await?;
    let mut all = Vec::new();
    while let Some(events) = watch.try_next()? {
        all.extend(
            events
                .iter()
                .map(|event| (event.revision.0, event.key().to_owned())),
        );
    }
    Ok(all)
}

async fn text(store: &SledStorage, key: &str) -> Option<String> {
    let record = store.get(key).await.unwrap()?;
    Some(String::from_utf8(record.value.to_vec()).unwrap())
}

#[tokio::test]
async fn a_crash_loses_what_is_volatile_and_nobody_is_told_half() {
    let folder = test_folder();
    let store = open(folder.path());
    for number in 0..5 {
        let number = number.to_string();
        store
            .commit(vec![put("/r/core/pods/a", &number)])
            .await
            .unwrap();
        store
            .commit(vec![put("/r/core/events/a", &number).volatile()])
            .await
            .unwrap();
    }
    let seen = store.revision();
    let (_folder, after) = crashed(folder.path());
    assert!(after.revision() >= seen, "a revision would come again");
    assert_eq!(text(&after, "/r/core/pods/a").await.as_deref(), Some("4"));
    assert_eq!(text(&after, "/r/core/events/a").await, None);
    // Pods never were volatile: their watches go on where they were.
    let pods = told(&after, "/r/core/pods/", Revision(3)).await.unwrap();
    assert_eq!(
        pods.iter()
            .map(|(revision, _)| *revision)
            .collect::<Vec<_>>(),
        [5, 7, 9]
    );
    for prefix in ["/r/core/events/", "/r/core/", ""] {
        let refused = told(&after, prefix, seen).await;
        assert!(
            matches!(refused, Err(StoreError::Compacted { .. })),
            "{prefix:?}"
        );
        assert!(
            told(&after, prefix, after.revision())
                .await
                .unwrap()
                .is_empty()
        );
    }
    let next = after
        .commit(vec![put("/r/core/events/b", "").volatile()])
        .await
        .unwrap();
    assert!(next > seen);
}

#[tokio::test]
async fn the_loss_is_remembered_over_more_restarts_and_segments() {
    let folder = test_folder();
    let store = open(folder.path());
    store
        .commit(vec![put("/r/core/events/a", "1").volatile()])
        .await
        .unwrap();
    let seen = store.revision();
    let (folder, after) = crashed(folder.path());
    for number in 0..120 {
        after
            .commit(vec![put("/r/core/pods/a", &number.to_string())])
            .await
            .unwrap();
    }
    assert!(segment::list(&folder.path().join("log")).unwrap().len() > 2);
    drop(after);
    for _ in 0..2 {
        let again = open(folder.path());
        let refused = told(&again, "/r/core/events/", seen).await;
        assert!(matches!(refused, Err(StoreError::Compacted { .. })));
        assert_eq!(
            told(&again, "/r/core/pods/", seen).await.unwrap().len(),
            120
        );
        drop(again);
    }
}

#[tokio::test]
async fn a_crash_right_after_an_orderly_restart_still_knows_there_was_something_volatile() {
    let folder = test_folder();
    let store = open(folder.path());
    store
        .commit(vec![put("/r/core/events/a", "1").volatile()])
        .await
        .unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!(text(&store, "/r/core/events/a").await.as_deref(), Some("1"));
    // Killed before it wrote anything: what was kept is still good.
    let (_idle, idle) = crashed(folder.path());
    assert_eq!(text(&idle, "/r/core/events/a").await.as_deref(), Some("1"));
    store
        .commit(vec![put("/r/core/pods/a", "1")])
        .await
        .unwrap();
    let seen = store.revision();
    let (_folder, after) = crashed(folder.path());
    assert_eq!(text(&after, "/r/core/events/a").await, None);
    assert_eq!(text(&after, "/r/core/pods/a").await.as_deref(), Some("1"));
    assert!(after.revision() >= seen);
    let refused = told(&after, "/r/core/events/", Revision(1)).await;
    assert!(matches!(refused, Err(StoreError::Compacted { .. })));
}

#[tokio::test]
async fn the_watch_window_survives_kills_and_checkpoints() {
    let folder = test_folder();
    let options = SledOptions {
        history: HistoryLimits {
            events: 40,
            bytes: 1 << 20,
        },
        ..options()
    };
    let store = SledStorage::open(folder.path(), &options).unwrap();
    for number in 0..200 {
        store
            .commit(vec![put(&format!("/p/{}", number % 7), &"x".repeat(100))])
            .await
            .unwrap();
    }
    let before = told(&store, "/p/", Revision(160)).await.unwrap();
    assert_eq!(before.len(), 40);
    let other = test_folder();
    copy(folder.path(), other.path());
    let after = SledStorage::open(other.path(), &options).unwrap();
    assert_eq!(told(&after, "/p/", Revision(160)).await.unwrap(), before);
    let refused = told(&after, "/p/", Revision(159)).await;
    assert!(matches!(
        refused,
        Err(StoreError::Compacted {
            oldest: Revision(160)
        })
    ));
    // What nobody can ask for any more has left the log.
    let oldest = segment::list(&other.path().join("log")).unwrap().remove(0);
    assert!(segment::read(&oldest).unwrap().base > Revision(100));
}

#[tokio::test]
async fn values_of_a_megabyte_survive_checkpoints_and_shrink() {
    let folder = test_folder();
    let options = SledOptions {
        history: HistoryLimits {
            events: 1,
            bytes: 1 << 20,
        },
        ..options()
    };
    let big: String = (0..1_400_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    for value in [big, "small".to_owned()] {
        let store = SledStorage::open(folder.path(), &options).unwrap();
        store.commit(vec![put("/big", &value)]).await.unwrap();
        for number in 0..60 {
            store
                .commit(vec![put("/other", &number.to_string())])
                .await
                .unwrap();
        }
        drop(store);
        for _ in 0..2 {
            let store = SledStorage::open(folder.path(), &options).unwrap();
            assert!(text(&store, "/big").await.as_ref() == Some(&value));
        }
    }
}

#[tokio::test]
async fn the_numbers_show_what_the_disk_is_charged() {
    let folder = test_folder();
    let store = open(folder.path());
    let before = store.metrics().unwrap().log_bytes();
    store
        .commit(vec![put("/p/a", &"x".repeat(1000))])
        .await
        .unwrap();
    let once = store.metrics().unwrap().log_bytes() - before;
    assert!((1000..1200).contains(&once), "{once} bytes for one of 1000");
    store
        .commit(vec![put("/beat", "0").volatile()])
        .await
        .unwrap();
    let syncs = store.metrics().unwrap().syncs.get();
    for number in 0..1000 {
        store
            .commit(vec![put("/beat", &number.to_string()).volatile()])
            .await
            .unwrap();
    }
    assert_eq!(
        store.metrics().unwrap().syncs.get(),
        syncs,
        "volatile changes were synced"
    );
    let mut registry = prometheus_client::registry::Registry::default();
    store.metrics().unwrap().register(&mut registry);
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, &registry).unwrap();
    assert!(
        shown.contains("coracle_store_bytes_written_total{part=\"Log\"}"),
        "{shown}"
    );
    assert!(shown.contains("coracle_store_revision 1002"), "{shown}");
}

#[tokio::test]
async fn many_volatile_kinds_count_as_one() {
    let folder = test_folder();
    let store = open(folder.path());
    for number in 0..200 {
        store
            .commit(vec![put(&format!("/r/g/kind{number}/x"), "").volatile()])
            .await
            .unwrap();
    }
    let seen = store.revision();
    let (_folder, after) = crashed(folder.path());
    for prefix in ["/r/g/kind5/", "/r/g/kind150/", "/other/"] {
        let refused = told(&after, prefix, seen).await;
        assert!(
            matches!(refused, Err(StoreError::Compacted { .. })),
            "{prefix}"
        );
    }
}

#[tokio::test]
async fn deleting_what_is_volatile_is_volatile() {
    let folder = test_folder();
    let store = open(folder.path());
    store
        .commit(vec![put("/r/core/events/a", "durable")])
        .await
        .unwrap();
    let gone = Op {
        change: Change::Delete,
        ..put("/r/core/events/a", "")
    };
    store.commit(vec![gone.volatile()]).await.unwrap();
    let (_folder, after) = crashed(folder.path());
    assert_eq!(
        text(&after, "/r/core/events/a").await.as_deref(),
        Some("durable")
    );
    drop(store);
    let store = open(folder.path());
    assert_eq!(text(&store, "/r/core/events/a").await, None);
}

#[tokio::test]
async fn a_backup_makes_a_store_whose_revisions_nobody_has_seen() {
    let folder = test_folder();
    let store = open(folder.path());
    for number in 0..80 {
        store
            .commit(vec![put(
                &format!("/p/{}", number % 50),
                &"x".repeat(number * 7),
            )])
            .await
            .unwrap();
    }
    let page = store.list(List::default()).await.unwrap();
    let bytes: Vec<u8> = crate::backup::Backup::of(page.clone()).flatten().collect();
    // Changes behind the backup's back are not in it.
    store.commit(vec![put("/p/0", "later")]).await.unwrap();
    let refused = offline::restore(folder.path(), &bytes[..], &options());
    assert!(matches!(refused, Err(offline::RestoreError::NotEmpty(_))));
    let other = test_folder();
    let target = other.path().join("store");
    let made = offline::restore(&target, &bytes[..], &options()).unwrap();
    assert_eq!((made.records, made.revision.0), (50, 80 + offline::AHEAD));
    assert_eq!(offline::check(&target, &options()).unwrap(), made);
    let restored = open(&target);
    assert_eq!(
        restored.list(List::default()).await.unwrap().records,
        page.records
    );
    let old = restored.watch("/p/", store.revision()).await;
    assert!(matches!(old, Err(StoreError::Compacted { .. })));
    let next = restored.commit(vec![put("/p/0", "new")]).await.unwrap();
    assert_eq!(next, Revision(81 + offline::AHEAD));
}

#[tokio::test]
async fn half_a_backup_makes_no_store() {
    let store = crate::MemoryStorage::new();
    for number in 0..2000 {
        store
            .commit(vec![put(&format!("/p/{number}"), &"x".repeat(500))])
            .await
            .unwrap();
    }
    let page = store.list(List::default()).await.unwrap();
    let bytes: Vec<u8> = crate::backup::Backup::of(page).flatten().collect();
    let folder = test_folder();
    let cut = &bytes[..bytes.len() - 300];
    let refused = offline::restore(folder.path(), cut, &options());
    assert!(matches!(refused, Err(offline::RestoreError::Backup(_))));
    assert!(offline::check(folder.path(), &options()).is_err());
}

#[tokio::test]
async fn compacting_makes_files_small_and_keeps_everything() {
    let parent = test_folder();
    let folder = parent.path().join("store");
    let store = open(&folder);
    for number in 0..600 {
        let value = format!("{number}{}", "x".repeat(9000));
        store
            .commit(vec![put(&format!("/p/{}", number % 5), &value)])
            .await
            .unwrap();
    }
    store
        .commit(vec![put("/beat", "1").volatile()])
        .await
        .unwrap();
    let in_use = offline::compact(&folder, &options());
    assert!(
        matches!(in_use, Err(StoreError::Unavailable { ref reason }) if reason.contains("in use"))
    );
    let (before, revision) = (store.list(List::default()).await.unwrap(), store.revision());
    drop(store);
    let (large, small) = offline::compact(&folder, &options()).unwrap();
    assert!(small * 10 < large, "{large} bytes became {small}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    let store = open(&folder);
    assert_eq!(
        store.list(List::default()).await.unwrap().records,
        before.records
    );
    assert_eq!(store.revision(), revision);
    store.commit(vec![put("/p/0", "more")]).await.unwrap();
}
