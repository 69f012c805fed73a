//! Logs written and read back, through the real writer and disk.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use coracle_runtime::LogSink;
use futures::StreamExt;
use jiff::Timestamp;

use super::{
    line::Stream,
    read::{Options, Reader},
    *,
};

fn id(run: u32) -> LogId {
    LogId {
        pod: directory_of("ns", "p", "u"),
        container: Arc::from("c"),
        run,
    }
}

fn logs(log_file: u64) -> (tempfile::TempDir, Logs) {
    let folder = tempfile::tempdir().unwrap();
    let limits = DiskLimits {
        log_file,
        ..DiskLimits::default()
    };
    let logs = Logs::open(folder.path().join("logs"), limits).unwrap();
    (folder, logs)
}

async fn write(sink: &Arc<dyn LogSink>, text: &str) {
    tokio::time::timeout(
        Duration::from_secs(10),
        std::future::poll_fn(|context| sink.poll_ready(context)),
    )
    .await
    .unwrap();
    sink.write(Bytes::from(text.to_owned()));
}

async fn all(logs: &Logs, id: &LogId, options: Options) -> String {
    rest(Reader::open(&logs.path(id), logs.of(id).as_ref(), options).unwrap()).await
}

async fn rest(reader: Reader) -> String {
    let read = async {
        let mut stream = pin!(reader.into_stream());
        let mut all = Vec::new();
        while let Some(bytes) = stream.next().await {
            all.extend_from_slice(&bytes.unwrap());
        }
        all
    };
    let bytes = tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Waits until the run's log is on disk whole.
async fn end(logs: &Logs, id: &LogId) {
    logs.end(id);
    let mut progress = logs.of(id).unwrap().progress();
    tokio::time::timeout(
        Duration::from_secs(10),
        progress.wait_for(|progress| progress.is_closed),
    )
    .await
    .unwrap()
    .unwrap();
}

#[tokio::test]
async fn lines_come_back_as_they_are_asked_for() {
    let (_folder, logs) = logs(1 << 20);
    let log = logs.begin(&id(0));
    let (out, err) = (log.sink(Stream::Stdout), log.sink(Stream::Stderr));
    for n in 0..5 {
        write(&out, &format!("line {n}\n")).await;
    }
    write(&err, "oops\nunended").await;
    end(&logs, &id(0)).await;
    let run = id(0);
    let ask = |options| all(&logs, &run, options);
    assert_eq!(
        ask(Options::default()).await,
        "line 0\nline 1\nline 2\nline 3\nline 4\noops\nunended"
    );
    assert_eq!(
        ask(Options {
            tail_lines: Some(3),
            ..Options::default()
        })
        .await,
        "line 4\noops\nunended"
    );
    assert_eq!(
        ask(Options {
            tail_lines: Some(0),
            ..Options::default()
        })
        .await,
        ""
    );
    assert_eq!(
        ask(Options {
            tail_lines: Some(99),
            ..Options::default()
        })
        .await
        .lines()
        .count(),
        7
    );
    assert_eq!(
        ask(Options {
            limit_bytes: Some(9),
            ..Options::default()
        })
        .await,
        "line 0\nli"
    );
    assert_eq!(
        ask(Options {
            source: Some(Stream::Stderr),
            ..Options::default()
        })
        .await,
        "oops\nunended"
    );
    let later = Timestamp::now() + Duration::from_secs(60);
    assert_eq!(
        ask(Options {
            since: Some(later),
            ..Options::default()
        })
        .await,
        ""
    );
    let timed = ask(Options {
        timestamps: true,
        limit_bytes: Some(38),
        ..Options::default()
    })
    .await;
    let (time, text) = timed.split_once(' ').unwrap();
    assert!(time.parse::<Timestamp>().is_ok());
    assert_eq!(text, "line 0\n");
}

#[tokio::test]
async fn a_followed_log_goes_on_over_rotations_until_its_end() {
    let (_folder, logs) = logs(SMALLEST);
    let log = logs.begin(&id(0));
    let out = log.sink(Stream::Stdout);
    write(&out, "first\n").await;
    let reader = Reader::open(
        &logs.path(&id(0)),
        Some(&log),
        Options {
            follow: true,
            ..Options::default()
        },
    )
    .unwrap();
    let mut stream = Box::pin(reader.into_stream());
    assert_eq!(&stream.next().await.unwrap().unwrap()[..], b"first\n");
    let mut seen = 0;
    for n in 0..4_000 {
        write(&out, &format!("{n:0>60}\n")).await;
        // Reads along, as one who looks does.
        while seen <= n {
            let bytes = tokio::time::timeout(Duration::from_secs(10), stream.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            for line in std::str::from_utf8(&bytes).unwrap().lines() {
                assert_eq!(line.parse::<i32>().unwrap(), seen);
                seen += 1;
            }
        }
    }
    assert!(log.progress().borrow().rotations > 2);
    logs.end(&id(0));
    assert!(
        tokio::time::timeout(Duration::from_secs(10), stream.next())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_flood_stays_within_its_bound_on_disk() {
    let (folder, logs) = logs(256 << 10);
    let log = logs.begin(&id(0));
    let out = log.sink(Stream::Stdout);
    let flood = "x".repeat(8 << 10) + "\n";
    for _ in 0..600 {
        write(&out, &flood).await;
    }
    end(&logs, &id(0)).await;
    let directory = folder.path().join("logs/ns_p_u/c");
    let total: u64 = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(total <= 2 * ((256 << 10) + (300 << 10)), "{total} bytes");
    assert!(
        all(
            &logs,
            &id(0),
            Options {
                tail_lines: Some(1),
                ..Options::default()
            }
        )
        .await
        .starts_with("xxx")
    );
}

#[tokio::test]
async fn who_does_not_follow_sees_no_line_that_came_after_asking() {
    let (_folder, logs) = logs(1 << 20);
    let log = logs.begin(&id(0));
    let out = log.sink(Stream::Stdout);
    let mut progress = log.progress();
    let mut written = async |text: &str| {
        let before = progress.borrow_and_update().size;
        write(&out, text).await;
        tokio::time::timeout(
            Duration::from_secs(10),
            progress.wait_for(|progress| progress.size > before),
        )
        .await
        .unwrap()
        .unwrap();
    };
    written("one\ntwo\n").await;
    let of = |tail_lines| {
        let options = Options {
            tail_lines,
            ..Options::default()
        };
        Reader::open(&logs.path(&id(0)), logs.of(&id(0)).as_ref(), options).unwrap()
    };
    let (last, whole) = (of(Some(1)), of(None));
    written("three\n").await;
    assert_eq!(rest(last).await, "two\n");
    assert_eq!(rest(whole).await, "one\ntwo\n");
}

#[tokio::test]
async fn a_container_that_writes_faster_than_allowed_waits() {
    let (_folder, logs) = logs(1 << 20);
    let out = logs.begin(&id(0)).sink(Stream::Stdout);
    let piece = Bytes::from("x".repeat(64 << 10) + "\n");
    let mut written = 0;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while out.poll_ready(&mut context).is_ready() && written < 1_000 {
        out.write(piece.clone());
        written += 1;
    }
    assert!(
        written < 1_000,
        "more than {} MiB were taken at once",
        written >> 4
    );
}

#[tokio::test]
async fn the_runs_before_the_last_two_are_forgotten() {
    let (folder, logs) = logs(1 << 20);
    for run in 0..4 {
        let out = logs.begin(&id(run)).sink(Stream::Stdout);
        write(&out, &format!("run {run}\n")).await;
        end(&logs, &id(run)).await;
    }
    assert_eq!(all(&logs, &id(3), Options::default()).await, "run 3\n");
    assert_eq!(all(&logs, &id(2), Options::default()).await, "run 2\n");
    assert_eq!(all(&logs, &id(1), Options::default()).await, "");
    let other = folder.path().join("logs/other");
    fs::create_dir(&other).unwrap();
    logs.sweep(|pod| pod == "ns_p_u").unwrap();
    assert!(!other.exists());
    logs.remove("ns_p_u").unwrap();
    assert!(!folder.path().join("logs/ns_p_u").exists());
}

#[tokio::test]
async fn what_an_earlier_agent_wrote_is_still_there() {
    let (folder, logs) = logs(1 << 20);
    let out = logs.begin(&id(0)).sink(Stream::Stdout);
    write(&out, "before\n").await;
    logs.close();
    drop(logs);
    let again = Logs::open(folder.path().join("logs"), DiskLimits::default()).unwrap();
    assert_eq!(
        all(
            &again,
            &id(0),
            Options {
                follow: true,
                ..Options::default()
            }
        )
        .await,
        "before\n"
    );
}
