//! Figures of the store on this machine's disk, beside Debian's etcd through the same trait when it can be installed: `cargo xtask bench store` runs
//! it. What depends on the disk is told as it comes; read ratios, not numbers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failure ends it with what went wrong"
)]

#[path = "../tests/etcd/member.rs"]
mod member;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coracle_store::{
    EtcdOptions, EtcdStorage, Expect, List, Op, Revision, SledOptions, SledStorage, Storage,
};
use member::Member;

/// How long each number of clients writes.
const RUN: Duration = Duration::from_secs(3);
const VALUE: usize = 1024;

fn put(key: String, value: Vec<u8>) -> Op {
    Op {
        expect: Expect::Any,
        ..Op::create(key, value)
    }
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir_in(".").unwrap();
    println!("on {}", folder.path().display());
    let embedded: Arc<dyn Storage> = {
        let options = SledOptions::default();
        Arc::new(SledStorage::open(&folder.path().join("a"), &options).unwrap())
    };
    writes("embedded", &embedded).await;
    watch_latency("embedded", &embedded).await;
    fan_out("embedded", &embedded).await;
    drop(embedded);
    for members in [1, 3] {
        let Some(cluster) = Member::cluster(members, &[]) else {
            break;
        };
        let urls = cluster.iter().map(|member| member.url.clone()).collect();
        let name = format!(
            "etcd, {members} member{}",
            if members == 1 { "" } else { "s" }
        );
        let store: Arc<dyn Storage> =
            Arc::new(EtcdStorage::open(&EtcdOptions::new(urls)).await.unwrap());
        writes(&name, &store).await;
        watch_latency(&name, &store).await;
    }
    large(&folder.path().join("b")).await;
    overwritten(&folder.path().join("c")).await;
}

/// Compare-and-swap updates per second, each client on a key of its own.
async fn writes(name: &str, store: &Arc<dyn Storage>) {
    for clients in [1, 16, 256] {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
                tokio::spawn(async move {
                    let key = format!("/w/{clients}/{client}");
                    let first = Op::create(key.clone(), vec![b'v'; VALUE]);
                    let mut seen = store.commit(vec![first]).await.unwrap();
                    let mut times = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let op = Op::update(key.clone(), seen, vec![b'v'; VALUE]);
                        seen = store.commit(vec![op]).await.unwrap();
                        times.push(began.elapsed());
                    }
                    times
                })
            })
            .collect();
        let began = Instant::now();
        tokio::time::sleep(RUN).await;
        stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.unwrap());
        }
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        println!(
            "{name}: {clients:>3} clients {rate:>8.0} writes/s, {}",
            quantiles(times)
        );
    }
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    format!("p50 {:.2?} p99 {:.2?}", at(50), at(99))
}

/// From asking for a write to its event.
async fn watch_latency(name: &str, store: &Arc<dyn Storage>) {
    let mut watch = store.watch("/l/", store.revision()).await.unwrap();
    let mut times = Vec::new();
    for number in 0..500 {
        let began = Instant::now();
        let written = tokio::spawn({
            let store = Arc::clone(store);
            async move {
                store
                    .commit(vec![put(format!("/l/{}", number % 7), vec![b'v'; VALUE])])
                    .await
            }
        });
        let events = watch.next().await.unwrap();
        times.push(began.elapsed());
        assert_eq!(events.len(), 1);
        written.await.unwrap().unwrap();
    }
    println!("{name}: put to event {}", quantiles(times));
}

/// 1,000 watchers of what 16 clients write.
async fn fan_out(name: &str, store: &Arc<dyn Storage>) {
    let (told, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut watchers = Vec::new();
    for _ in 0..1000 {
        let mut watch = store.watch("/f/", store.revision()).await.unwrap();
        let told = Arc::clone(&told);
        watchers.push(tokio::spawn(async move {
            while let Ok(events) = watch.next().await {
                told.fetch_add(events.len() as u64, Ordering::Relaxed);
            }
        }));
    }
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut written = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let op = put(format!("/f/{writer}"), vec![b'v'; VALUE]);
                    store.commit(vec![op]).await.unwrap();
                    written += 1;
                }
                written
            })
        })
        .collect();
    let began = Instant::now();
    tokio::time::sleep(RUN).await;
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    let told = told.load(Ordering::Relaxed);
    println!(
        "{name}: 1000 watchers {:.2} M events/s at {:.0} writes/s",
        told as f64 / seconds / 1e6,
        written as f64 / seconds
    );
    for watcher in watchers {
        watcher.abort();
    }
}

/// A million objects: memory, lists, opening.
async fn large(folder: &Path) {
    let options = SledOptions::default();
    let store = Arc::new(SledStorage::open(folder, &options).unwrap());
    let before = resident();
    for count in [100_000_u32, 1_000_000] {
        let from = if count == 100_000 { 0 } else { 100_000 };
        for start in (from..count).step_by(20_000) {
            let tasks = (start..start + 20_000).map(|number| {
                let store = Arc::clone(&store);
                async move {
                    store
                        .commit(vec![put(format!("/o/{number:07}"), vec![b'v'; VALUE])])
                        .await
                }
            });
            for done in futures::future::join_all(tasks).await {
                done.unwrap();
            }
        }
        let began = Instant::now();
        let page = store
            .list(List {
                prefix: "/o/".into(),
                ..List::default()
            })
            .await
            .unwrap();
        println!(
            "embedded: {} objects of {VALUE} bytes: {} MB more resident, listed in {:.0?}",
            page.records.len(),
            resident().saturating_sub(before) / 1024,
            began.elapsed()
        );
    }
    let revision = store.revision();
    drop(store);
    let began = Instant::now();
    let store = SledStorage::open(folder, &options).unwrap();
    println!(
        "embedded: opened with 1,000,000 objects in {:.2?}, {} MB of disk",
        began.elapsed(),
        size(folder) >> 20
    );
    assert_eq!(store.revision(), revision);
}

/// A million overwrites of ten thousand keys: what stays on the disk.
async fn overwritten(folder: &Path) {
    let store = Arc::new(SledStorage::open(folder, &SledOptions::default()).unwrap());
    let began = Instant::now();
    for round in 0..100_u8 {
        let tasks = (0..10_000).map(|number| {
            let store = Arc::clone(&store);
            async move {
                store
                    .commit(vec![put(format!("/k/{number:05}"), vec![round; VALUE])])
                    .await
            }
        });
        for done in futures::future::join_all(tasks).await {
            done.unwrap();
        }
    }
    assert_eq!(store.revision(), Revision(1_000_000));
    println!(
        "embedded: 1,000,000 overwrites of 10 MB in {:.1?}: {} MB of disk",
        began.elapsed(),
        size(folder) >> 20
    );
}

/// Memory of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_ascii_whitespace().next().unwrap();
    number.parse().unwrap()
}

/// Bytes on disk.
fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let Ok(about) = entry.metadata() else {
            continue;
        };
        bytes += if about.is_dir() {
            size(&entry.path())
        } else {
            about.blocks() * 512
        };
    }
    bytes
}
