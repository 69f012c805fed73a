//! Forgets history in a shared store: what is older than a while, on whoever decides. The embedded store bounds its history itself.

use std::{sync::Arc, time::Duration};

use coracle_store::{Revision, Storage};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Kubernetes' own: watches may be so far behind, and history is at most twice as long.
pub(crate) const EVERY: Duration = Duration::from_secs(300);

/// Works until `stop`: each time, what was the newest revision the time before becomes the oldest.
pub(crate) async fn run(store: Arc<dyn Storage>, every: Duration, stop: CancellationToken) {
    let mut then = Revision(0);
    loop {
        let now = store.revision();
        if then > Revision(0)
            && let Err(error) = store.compact(then).await
        {
            tracing::warn!(%error, revision = %then, "history is not compacted");
        }
        then = now;
        tokio::select! {
            () = sleep(every) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_store::{Expect, MemoryStorage, Op, StoreError};
    use tokio::time::Instant;

    #[tokio::test]
    async fn what_was_newest_the_time_before_becomes_the_oldest() {
        let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let stop = CancellationToken::new();
        let put = || async {
            let op = Op {
                expect: Expect::Any,
                ..Op::create("/a", "")
            };
            store.commit(vec![op]).await.unwrap()
        };
        let (first, second) = (put().await, put().await);
        let every = Duration::from_millis(5);
        let running = tokio::spawn(run(Arc::clone(&store), every, stop.clone()));
        let deadline = Instant::now() + Duration::from_secs(20);
        let oldest = loop {
            match store.watch("/", first).await {
                Err(StoreError::Compacted { oldest }) => break oldest,
                _ => assert!(Instant::now() < deadline, "history is not compacted"),
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(oldest, second);
        assert!(store.watch("/", second).await.is_ok());
        stop.cancel();
        running.await.unwrap();
    }
}
