//! Keeps the caches of one kind like what the API server has: lists once, then follows, and lists again when it has lost the thread. Ends of objects that
//! happened meanwhile are made up from the difference.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

use coracle_apiserver::ambient::Ambient;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    backoff,
    calls::Calls,
    metrics::DriverMetrics,
    refusal::Refusal,
    shelf::{Item, Shelf},
    world::World,
};

/// How long a watch lasts before it is begun anew from where it was, at least; up to twice that, so that watches do not all end together. Upstream's number.
const WATCH_TIME: u64 = 300;
/// So much later than it should have ended a watch is given up: its connection is dead.
const GRACE: Duration = Duration::from_secs(30);
/// A kind that is not served is looked for again after this long.
const UNSERVED: Duration = Duration::from_secs(10);
/// After so many watches in a row that could not be begun, it is listed again, whatever the reason: the server may have been set back to an older state.
const PATIENCE: u32 = 3;
/// A watch that ends before this time and brought nothing is a failure, or else such watches would follow each other as fast as they can.
const SHORT: Duration = Duration::from_secs(1);
/// So many objects of a list are taken over before others get a turn.
const YIELD_EVERY: usize = 64;

/// The reflector of one kind.
pub struct Reflector {
    /// To whom it talks.
    pub calls: Calls,
    /// What it fills.
    pub world: Arc<World>,
    /// Of what kind.
    pub shelf: Shelf,
    /// Chance, for waits.
    pub ambient: Arc<dyn Ambient>,
    /// What is counted.
    pub metrics: DriverMetrics,
}

/// A line of a watch.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    of: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// As much of a Status as matters.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

impl Reflector {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut failures = 0;
        loop {
            let from = match self.list().await {
                Ok(revision) => {
                    failures = 0;
                    revision
                }
                Err(Refusal::Gone(_)) => {
                    // A kind that is not served, or not yet, has no objects; nobody must wait for it.
                    self.world.listed(&self.shelf.kind, 0);
                    sleep(UNSERVED).await;
                    continue;
                }
                Err(refusal) => {
                    self.pause("list", &mut failures, &refusal).await;
                    continue;
                }
            };
            self.watch_from(from).await;
            self.metrics.relists.inc();
        }
    }

    /// Takes over all objects; gives the revision of the list.
    async fn list(&self) -> Result<u64, Refusal> {
        let mut listed = BTreeSet::new();
        let mut continuation = String::new();
        let mut revision = 0;
        loop {
            let kind = &self.shelf.kind;
            let is_whole = self.shelf.is_whole;
            let page = self.calls.list(kind, None, is_whole, &continuation).await?;
            revision = page.metadata.resource_version.parse().unwrap_or(revision);
            for (n, object) in page.items.iter().enumerate() {
                if n % YIELD_EVERY == YIELD_EVERY - 1 {
                    tokio::task::yield_now().await;
                }
                if let Some(item) = self.read(object.get()) {
                    listed.insert(item.place.uid.clone());
                    self.world.insert(&self.shelf, item);
                }
            }
            continuation = page.metadata.continuation;
            if continuation.is_empty() {
                break;
            }
        }
        let known = self.shelf.places(&self.world.caches());
        for place in known.iter().filter(|place| !listed.contains(&place.uid)) {
            self.world.remove(&self.shelf, place);
        }
        self.world.listed(&self.shelf.kind, revision);
        Ok(revision)
    }

    /// Follows changes until the thread is lost.
    async fn watch_from(&self, mut position: u64) {
        let mut failures = 0;
        while failures < PATIENCE {
            let (before, began) = (position, Instant::now());
            let mut ended = self.watch(&mut position).await;
            if ended.is_ok() && position == before && began.elapsed() < SHORT {
                ended = Err(Refusal::Late);
            }
            match ended {
                Ok(()) => failures = 0,
                Err(Refusal::Expired(why)) => {
                    tracing::info!(kind = %self.shelf.kind.plural, why, "lists again: the history is gone");
                    return;
                }
                Err(refusal) => {
                    if position > before {
                        failures = 0;
                    }
                    self.pause("watch", &mut failures, &refusal).await;
                }
            }
        }
    }

    /// One watch, until it ends in order.
    async fn watch(&self, position: &mut u64) -> Result<(), Refusal> {
        let kind = &self.shelf.kind;
        let more = u64::try_from(self.ambient.draw() % u128::from(WATCH_TIME)).unwrap_or(0);
        let time = Duration::from_secs(WATCH_TIME + more);
        let dead = Instant::now() + time + GRACE;
        let body = self.calls.watch(kind, self.shelf.is_whole, *position, time);
        let mut lines = body.await?.lines();
        loop {
            match timeout_at(dead, lines.next()).await {
                Ok(Some(Ok(line))) => self.frame(&line, position)?,
                Ok(Some(Err(error))) => return Err(Refusal::stream(error)),
                Ok(None) => return Ok(()),
                Err(_) => return Err(Refusal::Late),
            }
        }
    }

    fn frame(&self, line: &str, position: &mut u64) -> Result<(), Refusal> {
        let frame: Frame<'_> = serde_json::from_str(line).map_err(Refusal::answer)?;
        let object = frame.object.get();
        if frame.of == "ERROR" {
            let status: Status = serde_json::from_str(object).map_err(Refusal::answer)?;
            return Err(match status.code {
                410 => Refusal::Expired(status.message),
                code => Refusal::Other {
                    code,
                    message: status.message,
                },
            });
        }
        if frame.of == "BOOKMARK" {
            let (_, revision) = Shelf::read_place(object).map_err(Refusal::answer)?;
            self.advance(revision, position);
            return Ok(());
        }
        if frame.of == "DELETED" {
            let (place, revision) = Shelf::read_place(object).map_err(Refusal::answer)?;
            self.world.remove(&self.shelf, &place);
            self.advance(revision, position);
        } else if let Some(item) = self.read(object) {
            let revision = item.revision;
            self.world.insert(&self.shelf, item);
            self.advance(revision, position);
        }
        Ok(())
    }

    fn advance(&self, revision: u64, position: &mut u64) {
        *position = revision.max(*position);
        self.world.advance(&self.shelf.kind, *position);
    }

    /// An object; `None` for what cannot be read, which must not keep all others from being seen.
    fn read(&self, object: &str) -> Option<Item> {
        match self.shelf.read(object) {
            Ok(item) => Some(item),
            Err(error) => {
                tracing::error!(kind = %self.shelf.kind.plural, %error, "an object cannot be read");
                None
            }
        }
    }

    async fn pause(&self, what: &'static str, failures: &mut u32, refusal: &Refusal) {
        *failures = failures.saturating_add(1);
        let wait = backoff::OF_CONNECTIONS.jittered(*failures, self.ambient.draw());
        tracing::warn!(kind = %self.shelf.kind.plural, what, error = refusal.told(), wait = ?wait, "cannot follow a kind");
        sleep(wait).await;
    }
}
