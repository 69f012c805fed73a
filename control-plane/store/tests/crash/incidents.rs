//! What went wrong in etcd, tried here: each test is named after the issue in etcd's tracker that its robustness tests list (tests/robustness/
//! README.md there). #14571 is about authentication, which this store has none of.

use std::sync::Arc;

use coracle_store::{
    Change, Event, Expect, List, MemoryStorage, Op, Revision, SledStorage, Storage, StoreError,
    Watch, history::HistoryLimits,
};

use crate::{
    chance::Chance,
    child::{self, Orders, PATIENCE_OF_FOUR},
    disk::{Deed, Disk, Fate},
    folder, tracer,
    workload::{Told, block_on, options, verify},
};

/// Each kind of store in turn, empty.
fn each(test: impl AsyncFn(&dyn Storage)) {
    block_on(async {
        let limits = options().history;
        test(&MemoryStorage::with_history(limits)).await;
        let folder = folder::temporary();
        let store = SledStorage::open(folder.path(), &options()).unwrap();
        test(&store).await;
    });
}

fn put(key: &str, value: impl ToString) -> Op {
    Op {
        expect: Expect::Any,
        ..Op::create(key, value.to_string())
    }
}

fn delete(key: &str) -> Op {
    Op {
        change: Change::Delete,
        ..put(key, "")
    }
}

fn waiting(watch: &mut Watch) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(events) = watch.try_next().unwrap() {
        all.extend(events);
    }
    all
}

/// A recording of six clients at work, and the deeds after which `behind` holds.
fn recorded(behind: impl Fn(&[Deed]) -> bool) -> (Vec<Deed>, Vec<usize>) {
    let work = folder::temporary();
    let orders = Orders {
        steps: 40,
        stop: true,
        patience: PATIENCE_OF_FOUR,
    };
    let mut command = child::command(work.path(), &orders);
    let deeds = tracer::watch(&mut command, work.path(), &Disk::default(), &mut |_| None);
    let moments = (1..=deeds.len())
        .filter(|at| behind(&deeds[..*at]))
        .collect();
    (deeds, moments)
}

/// Cuts the power at some of the moments and checks everything.
fn cut_at((deeds, moments): &(Vec<Deed>, Vec<usize>), fate: Fate, times: usize) {
    assert!(moments.len() >= times, "only {} moments", moments.len());
    let mut chance = Chance::new(6);
    for at in moments.iter().step_by(moments.len() / times) {
        let folder = folder::temporary();
        let disk = Disk::default().after(&deeds[..*at], fate, &mut chance);
        disk.build(folder.path());
        let mut told = Told::default();
        for deed in &deeds[..*at] {
            if let Deed::Tell(line) = deed {
                told.hear(line);
            }
        }
        verify(folder.path(), &told);
    }
}

/// The number of the file made under this name.
fn file_named(deeds: &[Deed], beginning: &str) -> Option<usize> {
    deeds.iter().find_map(|deed| match deed {
        Deed::Create { path, file } if path.to_string_lossy().starts_with(beginning) => Some(*file),
        _ => None,
    })
}

#[test]
fn etcd_13766_a_crash_under_load_leaves_revision_and_data_at_one_transaction() {
    // In the middle of a group: its bytes are on their way, nothing of it is synced.
    let moments = recorded(
        |deeds| matches!(deeds, [.., Deed::Write { bytes, .. }] if bytes.starts_with(b"cfr2")),
    );
    cut_at(&moments, Fate::Torn, 15);
}

#[test]
fn etcd_14370_nothing_is_acknowledged_before_it_is_synced() {
    let moments =
        recorded(|deeds| matches!(deeds, [.., Deed::Tell(line)] if line.starts_with("ack")));
    cut_at(&moments, Fate::Lost, 15);
}

#[test]
fn etcd_14685_a_crash_while_the_checkpoint_is_written_changes_nothing() {
    let moments = recorded(|deeds| {
        let [.., Deed::Write { file, .. }] = deeds else {
            return false;
        };
        file_named(deeds, "log/").is_some() && file_named(deeds, "sled/db") == Some(*file)
    });
    cut_at(&moments, Fate::Torn, 15);
}

#[test]
fn etcd_15220_nothing_up_to_a_bookmark_comes_after_it() {
    each(async |store| {
        let mut watch = store.watch("/p/", Revision(0)).await.unwrap();
        let (mut seen, mut told) = (Revision(0), 0);
        for number in 0..200 {
            let prefix = if number % 3 == 0 { "/p/" } else { "/q/" };
            let revision = store
                .commit(vec![put(&format!("{prefix}a"), number)])
                .await
                .unwrap();
            for event in waiting(&mut watch) {
                assert!(event.revision > seen, "an event from before the bookmark");
                told += 1;
            }
            // What a bookmark would say: everything up to here has been told.
            seen = watch.position();
            assert_eq!(seen, revision);
        }
        assert_eq!(told, 67);
    });
}

#[test]
fn etcd_15271_a_watch_resumed_after_a_restart_does_not_go_back() {
    block_on(async {
        let folder = folder::temporary();
        let mut position = Revision(0);
        let mut seen = Vec::new();
        for run in 0..4 {
            let store = SledStorage::open(folder.path(), &options()).unwrap();
            for number in 0..10 {
                let op = put("/p/a", run * 10 + number);
                let op = if number % 2 == 0 { op } else { op.volatile() };
                store.commit(vec![op]).await.unwrap();
            }
            let mut watch = store.watch("/p/", position).await.unwrap();
            // Not all of it: the rest is told by the next run.
            let events = watch.try_next().unwrap().unwrap();
            let some = &events[..events.len() - 3];
            seen.extend(
                some.iter()
                    .map(|event| event.current.clone().unwrap().value.clone()),
            );
            position = some.last().unwrap().revision;
        }
        let expected: Vec<_> = (0..37).map(|number: u32| bytes(number)).collect();
        assert_eq!(seen, expected);
    });
}

fn bytes(number: u32) -> Vec<u8> {
    number.to_string().into_bytes()
}

#[test]
fn etcd_17247_a_transaction_tells_each_key_once() {
    each(async |store| {
        let twice = store.commit(vec![put("/p/a", 1), put("/p/a", 2)]).await;
        assert!(matches!(twice, Err(StoreError::Invalid { .. })));
        let mut watch = store.watch("/p/", Revision(0)).await.unwrap();
        for number in 0..20 {
            let refused = vec![put("/p/a", number), Op::create("/p/b", "")];
            let done = store.commit(refused).await;
            assert_eq!(done.is_ok(), number == 0);
            store
                .commit(vec![put("/p/a", number), put("/p/c", number)])
                .await
                .unwrap();
        }
        let told: Vec<_> = waiting(&mut watch)
            .iter()
            .map(|event| (event.revision.0, event.key().to_owned()))
            .collect();
        let mut expected = vec![(1, "/p/a".to_owned()), (1, "/p/b".to_owned())];
        for revision in 2..=21 {
            expected.extend([(revision, "/p/a".to_owned()), (revision, "/p/c".to_owned())]);
        }
        assert_eq!(told, expected);
    });
}

#[test]
fn etcd_17529_a_starved_watch_misses_nothing_or_is_told_so() {
    each(async |store| {
        let mut slow = store.watch("/p/", Revision(0)).await.unwrap();
        for number in 0..240 {
            store.commit(vec![put("/p/a", number)]).await.unwrap();
        }
        let told: Vec<_> = waiting(&mut slow)
            .iter()
            .map(|event| event.revision.0)
            .collect();
        assert_eq!(told, (1..=240).collect::<Vec<_>>());
        // Behind what is kept: an error, and never a gap.
        for number in 0..600 {
            store.commit(vec![put("/p/a", number)]).await.unwrap();
        }
        assert!(matches!(slow.try_next(), Err(StoreError::Compacted { .. })));
    });
}

#[test]
fn etcd_17780_a_crash_after_a_compaction_keeps_the_revision_and_the_floor() {
    block_on(async {
        let (folder, crashed) = (folder::temporary(), folder::temporary());
        let store = SledStorage::open(folder.path(), &options()).unwrap();
        for number in 0..30 {
            store.commit(vec![put("/p/a", number)]).await.unwrap();
        }
        store.commit(vec![delete("/p/a")]).await.unwrap();
        store.compact(store.revision()).await.unwrap();
        folder::copy(folder.path(), crashed.path());
        let again = SledStorage::open(crashed.path(), &options()).unwrap();
        assert_eq!(again.revision(), Revision(31));
        for after in [0, 1, 30] {
            let refused = again.watch("/p/", Revision(after)).await;
            assert!(matches!(
                refused,
                Err(StoreError::Compacted { oldest }) if oldest == Revision(31)
            ));
        }
    });
}

#[test]
fn etcd_18089_a_deletion_behind_the_compaction_is_told() {
    each(async |store| {
        store.commit(vec![put("/p/a", 1)]).await.unwrap();
        store.commit(vec![put("/p/b", 1)]).await.unwrap();
        let deleted = store.commit(vec![delete("/p/a")]).await.unwrap();
        let before = Revision(deleted.0 - 1);
        store.compact(before).await.unwrap();
        let mut watch = store.watch("/p/", before).await.unwrap();
        let told = waiting(&mut watch);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].key(), told[0].revision), ("/p/a", deleted));
        assert!(told[0].current.is_none());
    });
}

#[test]
fn etcd_18667_a_compacted_revision_is_refused_however_it_is_asked_for() {
    each(async |store| {
        for number in 0..10 {
            store.commit(vec![put("/p/a", number)]).await.unwrap();
        }
        store.compact(Revision(7)).await.unwrap();
        for at in 0..=10 {
            for prefix in ["/p/", "/p/a", "", "/none/"] {
                let list = List {
                    prefix: prefix.into(),
                    at: Some(Revision(at)),
                    ..List::default()
                };
                let (listed, watched) = (
                    store.list(list).await.map(drop),
                    store.watch(prefix, Revision(at)).await.map(drop),
                );
                for answer in [listed, watched] {
                    let refused = matches!(answer, Err(StoreError::Compacted { .. }));
                    assert_eq!(refused, at < 7, "{prefix:?} at {at}");
                }
            }
        }
    });
}

#[test]
fn etcd_19179_a_watch_opened_at_the_compaction_sees_the_deletion_after_it() {
    each(async |store| {
        let created = store.commit(vec![put("/p/a", 1)]).await.unwrap();
        let mut running = store.watch("/p/", created).await.unwrap();
        store.compact(created).await.unwrap();
        let mut opened = store.watch("/p/", created).await.unwrap();
        let deleted = store.commit(vec![delete("/p/a")]).await.unwrap();
        for watch in [&mut running, &mut opened] {
            let told = waiting(watch);
            assert_eq!(told.len(), 1);
            assert_eq!((told[0].revision, &told[0].current), (deleted, &None));
        }
        // Compacted on the deletion itself: nothing of it is left to be told, and nobody is told half of it.
        store.compact(deleted).await.unwrap();
        let early = store.watch("/p/", created).await;
        assert!(matches!(early, Err(StoreError::Compacted { .. })));
        let mut late = store.watch("/p/", deleted).await.unwrap();
        assert_eq!(waiting(&mut late), []);
    });
}

#[test]
fn etcd_20221_a_watch_of_the_future_is_refused_and_of_now_tells_nothing_old() {
    each(async |store| {
        for number in 0..5 {
            store.commit(vec![put("/p/a", number)]).await.unwrap();
        }
        for ahead in [6, 100, u64::MAX] {
            let refused = store.watch("/p/", Revision(ahead)).await;
            assert!(matches!(
                refused,
                Err(StoreError::Future { current }) if current == Revision(5)
            ));
        }
        let mut watch = store.watch("/p/", Revision(5)).await.unwrap();
        assert_eq!(waiting(&mut watch), []);
        store.commit(vec![put("/p/a", 6)]).await.unwrap();
        let told = waiting(&mut watch);
        assert_eq!(
            told.iter()
                .map(|event| event.revision.0)
                .collect::<Vec<_>>(),
            [6]
        );
    });
}

#[test]
fn history_is_bounded_by_bytes_over_restarts_too() {
    block_on(async {
        let folder = folder::temporary();
        let limits = HistoryLimits {
            events: usize::MAX,
            bytes: 64 << 10,
        };
        let options = coracle_store::SledOptions {
            history: limits,
            ..options()
        };
        let mut kept = Vec::new();
        for _ in 0..2 {
            let store = Arc::new(SledStorage::open(folder.path(), &options).unwrap());
            for number in 0..50 {
                store
                    .commit(vec![put("/p/a", format!("{number}{}", "x".repeat(5000)))])
                    .await
                    .unwrap();
            }
            let bytes = store.metrics().unwrap().history_bytes.get();
            assert!(bytes > 0 && bytes <= 64 << 10, "{bytes} bytes of history");
            let oldest = match store.watch("", Revision(0)).await {
                Err(StoreError::Compacted { oldest }) => oldest,
                _ => panic!("all history is kept"),
            };
            kept.push(store.revision().0 - oldest.0);
        }
        assert_eq!(kept[0], kept[1]);
    });
}
