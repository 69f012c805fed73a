//! Several control planes on one etcd: what one writes the others see, and a member that is killed is missed by nobody.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod access;
mod member;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coracle_store::{
    EtcdOptions, EtcdStorage, Expect, List, Op, Revision, Storage, StoreError, Watch,
};
use member::Member;
use tokio::time::timeout;

async fn open(members: &[Member]) -> EtcdStorage {
    let urls = members.iter().map(|member| member.url.clone());
    EtcdStorage::open(&EtcdOptions::new(urls.collect()))
        .await
        .unwrap()
}

fn put(key: &str, value: impl ToString) -> Op {
    Op {
        expect: Expect::Any,
        ..Op::create(key, value.to_string())
    }
}

/// The next events, which must come soon.
async fn next(watch: &mut Watch) -> Vec<(u64, String)> {
    let events = timeout(Duration::from_secs(20), watch.next()).await;
    let events = events.expect("no event in time").unwrap();
    events
        .iter()
        .map(|event| (event.revision.0, event.key().to_owned()))
        .collect()
}

#[tokio::test]
async fn what_one_server_writes_the_others_see_at_once() {
    let Some(members) = Member::cluster(1, &[]) else {
        return;
    };
    let (one, other) = (open(&members).await, open(&members).await);
    let mut watch = other.watch("/p/", other.revision()).await.unwrap();
    for number in 0..50 {
        let written = one.commit(vec![put("/p/a", number)]).await.unwrap();
        let seen = other.get("/p/a").await.unwrap().unwrap();
        assert_eq!(
            (seen.modified, &seen.value[..]),
            (written, number.to_string().as_bytes())
        );
        assert_eq!(next(&mut watch).await, [(written.0, "/p/a".to_owned())]);
        let page = other.list(List::default()).await.unwrap();
        assert_eq!((page.revision, page.records.len()), (written, 1));
        // A continue token or resourceVersion of one server means the same to the other.
        let then = List {
            at: Some(written),
            ..List::default()
        };
        assert_eq!(one.list(then).await.unwrap().records, page.records);
    }
}

#[tokio::test]
async fn a_server_started_later_knows_what_happened_before() {
    let Some(members) = Member::cluster(1, &[]) else {
        return;
    };
    let one = open(&members).await;
    let born = one.revision();
    for number in 0..20 {
        one.commit(vec![put("/p/a", number)]).await.unwrap();
    }
    let other = open(&members).await;
    let mut watch = other.watch("/p/", born).await.unwrap();
    assert_eq!(next(&mut watch).await.len(), 20);
    one.compact(Revision(born.0 + 10)).await.unwrap();
    let third = open(&members).await;
    let refused = third.watch("/p/", born).await;
    assert!(matches!(refused, Err(StoreError::Compacted { oldest }) if oldest.0 == born.0 + 10));
    let mut watch = third.watch("/p/", Revision(born.0 + 10)).await.unwrap();
    assert_eq!(next(&mut watch).await.len(), 10);
}

#[tokio::test]
async fn limits_are_told_and_change_nothing() {
    let Some(members) = Member::cluster(1, &[]) else {
        return;
    };
    let store = open(&members).await;
    let many = (0..200)
        .map(|number| put(&format!("/p/{number}"), 0))
        .collect();
    assert!(matches!(
        store.commit(many).await,
        Err(StoreError::Invalid { .. })
    ));
    let large = vec![put(
        "/p/a",
        "x".repeat(coracle_store::state::VALUE_LIMIT + 1),
    )];
    assert!(matches!(
        store.commit(large).await,
        Err(StoreError::TooLarge { .. })
    ));
    // Within our bound and over etcd's, which counts the whole request.
    let together = vec![
        put("/p/a", "x".repeat(1_000_000)),
        put("/p/b", "x".repeat(1_000_000)),
    ];
    assert!(matches!(
        store.commit(together).await,
        Err(StoreError::Invalid { .. })
    ));
    assert!(
        store
            .list(List::default())
            .await
            .unwrap()
            .records
            .is_empty()
    );
    store
        .commit(vec![put("/p/a", "x".repeat(1_400_000))])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_member_costs_no_acknowledged_write_and_no_failed_request() {
    let Some(members) = Member::cluster(3, &[]) else {
        return;
    };
    let stores = [
        Arc::new(open(&members).await),
        Arc::new(open(&[members[1].clone(), members[2].clone(), members[0].clone()]).await),
    ];
    let mut watch = stores[1].watch("/n/", stores[1].revision()).await.unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..4_usize)
        .map(|writer| {
            let (store, written) = (Arc::clone(&stores[writer % 2]), Arc::clone(&written));
            tokio::spawn(async move {
                let key = format!("/n/{writer}");
                let mut seen = store
                    .commit(vec![Op::create(key.clone(), "0")])
                    .await
                    .unwrap();
                for number in 1..=100 {
                    let op = Op::update(key.clone(), seen, number.to_string());
                    seen = store.commit(vec![op]).await.unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    while written.load(Ordering::Relaxed) < 60 {
        tokio::task::yield_now().await;
    }
    members[0].kill();
    for writer in writers {
        writer.await.unwrap();
    }
    for store in &stores {
        for writer in 0..4 {
            let held = store.get(&format!("/n/{writer}")).await.unwrap().unwrap();
            assert_eq!(&held.value[..], b"100");
        }
    }
    let mut told = Vec::new();
    while told.len() < 404 {
        told.extend(next(&mut watch).await);
    }
    assert!(told.is_sorted(), "a watch went back");
    assert_eq!(told.len(), 404, "a watch told something twice");
}
