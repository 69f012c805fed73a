//! Several candidates for one Lease: one decides at a time, and the next one soon.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coracle_api::registry::Registry;
use coracle_apiserver::{ApiServer, Options, UserInfo, auth::Authorizer, links::NodeLinks};
use coracle_control_plane::leader::Election;
use coracle_store::{MemoryStorage, Storage};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::cluster::DEADLINE;

async fn server() -> ApiServer {
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
    let server = ApiServer::new(Options::new(
        store,
        Registry::builtin(),
        authorizer,
        NodeLinks::new(),
    ));
    server.bootstrap().await.unwrap();
    server
}

struct Candidate {
    running: JoinHandle<()>,
    stop: CancellationToken,
}

/// A candidate that says when it begins to decide; `deciding` counts those that do.
fn candidate(
    server: &ApiServer,
    name: &'static str,
    began: &mpsc::Sender<&'static str>,
    deciding: &Arc<AtomicUsize>,
) -> Candidate {
    let client = server.client(UserInfo::new(name, ["system:masters"]));
    let (began, deciding) = (began.clone(), Arc::clone(deciding));
    let stop = CancellationToken::new();
    let election = Election::new(client, name.to_owned());
    let running = tokio::spawn(election.run(stop.clone(), move |term| {
        let (began, deciding) = (began.clone(), Arc::clone(&deciding));
        async move {
            assert_eq!(
                deciding.fetch_add(1, Ordering::SeqCst),
                0,
                "two decide at once"
            );
            began.send(name).await.unwrap();
            term.cancelled().await;
            deciding.fetch_sub(1, Ordering::SeqCst);
        }
    }));
    Candidate { running, stop }
}

#[tokio::test]
async fn one_decides_at_a_time_and_the_next_one_soon() {
    let server = server().await;
    let (began, mut begun) = mpsc::channel(8);
    let deciding = Arc::new(AtomicUsize::new(0));
    let next = async |begun: &mut mpsc::Receiver<&'static str>| {
        timeout(DEADLINE, begun.recv())
            .await
            .expect("nobody decides")
            .unwrap()
    };
    let first = candidate(&server, "first", &began, &deciding);
    assert_eq!(next(&mut begun).await, "first");
    let second = candidate(&server, "second", &began, &deciding);
    // A clean stop hands over at once.
    let stopped = Instant::now();
    first.stop.cancel();
    assert_eq!(next(&mut begun).await, "second");
    assert!(
        stopped.elapsed() < Duration::from_millis(1500),
        "{:?}",
        stopped.elapsed()
    );
    first.running.await.unwrap();
    // One that is killed is missed in three seconds.
    let third = candidate(&server, "third", &began, &deciding);
    let killed = Instant::now();
    second.running.abort();
    assert!(second.running.await.unwrap_err().is_cancelled());
    deciding.store(0, Ordering::SeqCst);
    assert_eq!(next(&mut begun).await, "third");
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    third.stop.cancel();
    third.running.await.unwrap();
}
