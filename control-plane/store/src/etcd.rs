//! The store on etcd, for control planes that outlive their machine: several servers share one cluster of etcd, and a write through any of them is
//! seen through all. Transactions are decided by etcd. Reads come from memory, which a watch keeps up to date, once memory has reached the newest
//! transaction that etcd knows at the time of the read.
//!
//! Every transaction also puts one key, the head: reading its revision from etcd says how far memory must have got, deletions included, without
//! relying on progress notifications, which in etcd before 3.4.31 can overtake events.

mod client;
mod feed;
mod transaction;
mod wire;

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use self::{
    client::{Client, unavailable},
    feed::Recent,
    transaction::{Attempt, Outcome},
    wire::{CompactionRequest, CompactionResponse, RangeRequest, RangeResponse},
};
use crate::{
    error::StoreError,
    history::HistoryLimits,
    record::Record,
    revision::Revision,
    signal::Signals,
    state::State,
    storage::{BoxFuture, List, Page, Storage},
    txn::Op,
    watch::{Event, Source, Watch},
};

/// How an etcd is reached and used.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// The members' URLs: `https://10.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// What every key begins with; several control planes can share an etcd under different ones.
    pub prefix: String,
    /// The certificate of the CA that the members are signed by, in PEM. `None`: plain HTTP.
    pub ca: Option<Vec<u8>>,
    /// A certificate and key of our own, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// User and password, where etcd's authentication is on.
    pub credentials: Option<(String, String)>,
    /// How much history is kept in memory.
    pub history: HistoryLimits,
}

impl EtcdOptions {
    /// Plain connections, keys under `/coracle/`.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            prefix: "/coracle/".to_owned(),
            ca: None,
            identity: None,
            credentials: None,
            history: HistoryLimits::default(),
        }
    }
}

/// How long a read waits for memory to catch up with etcd.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How often a transaction is decided anew because something else changed between looking and writing.
const DECISIONS: usize = 16;

/// The store on etcd.
pub struct EtcdStorage {
    shared: Arc<Shared>,
    feeding: JoinHandle<()>,
}

/// What readers, watches and the feed share.
struct Shared {
    client: Client,
    keys: Keys,
    state: RwLock<State>,
    signals: Signals,
    /// How far `state` has got.
    reached: watch::Sender<Revision>,
    /// Transactions of the last while by what they put into the head key.
    recent: Recent,
    history: HistoryLimits,
}

/// Where things are in etcd.
#[derive(Clone, Debug)]
struct Keys {
    /// What everything begins with; ends in a slash.
    root: String,
    data: String,
    head: String,
    /// Put once, when the store is made: history begins there.
    born: String,
}

impl Keys {
    fn new(prefix: &str) -> Result<Self, StoreError> {
        if !prefix.starts_with('/') || !prefix.ends_with('/') || prefix.len() < 2 {
            return Err(StoreError::Invalid {
                reason: format!("the etcd prefix {prefix:?} must begin and end with a slash"),
            });
        }
        Ok(Self {
            root: prefix.to_owned(),
            data: format!("{prefix}data"),
            head: format!("{prefix}head"),
            born: format!("{prefix}born"),
        })
    }
}

impl EtcdStorage {
    /// Connects, makes the store where there is none, and reads all of it.
    ///
    /// # Errors
    /// `Unavailable` when no member answers; `Invalid` for options that make no sense.
    pub async fn open(options: &EtcdOptions) -> Result<Self, StoreError> {
        let client = Client::new(options)?;
        let keys = Keys::new(&options.prefix)?;
        let state = feed::load(&client, &keys, options.history).await?;
        let (reached, _) = watch::channel(state.revision());
        let shared = Arc::new(Shared {
            client,
            keys,
            state: RwLock::new(state),
            signals: Signals::default(),
            reached,
            recent: Recent::default(),
            history: options.history,
        });
        let feeding = tokio::spawn(feed::run(Arc::clone(&shared)));
        let storage = Self { shared, feeding };
        storage.shared.fresh().await?;
        Ok(storage)
    }

    /// The revision of the last transaction, as etcd knows it now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn fresh_revision(&self) -> Result<Revision, StoreError> {
        self.shared.fresh().await
    }

    async fn decide(&self, ops: Vec<Op>) -> Result<Revision, StoreError> {
        crate::state::check_shape(&ops)?;
        let attempt = Attempt::new(ops)?;
        for _ in 0..DECISIONS {
            let request = attempt.request(&self.shared.keys, &self.shared.state.read());
            let answer = self
                .shared
                .client
                .call("/etcdserverpb.KV/Txn", &request.message)
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(status) => return Err(transaction::refused(&status)),
            };
            match attempt.outcome(&request, answer, &self.shared.keys)? {
                Outcome::Done(Some(revision)) => {
                    self.shared.reach(revision).await?;
                    return Ok(revision);
                }
                Outcome::Done(None) => return self.shared.fresh().await,
                Outcome::Refused(error) => {
                    // An attempt whose answer was lost may have been carried out, and refused this one.
                    self.shared.fresh().await?;
                    return match self.shared.recent.find(attempt.id()) {
                        Some(revision) => Ok(revision),
                        None => Err(error),
                    };
                }
                Outcome::Changed => {
                    self.shared.fresh().await?;
                    if let Some(revision) = self.shared.recent.find(attempt.id()) {
                        return Ok(revision);
                    }
                }
            }
        }
        Err(StoreError::Unavailable {
            reason: "etcd: what the transaction touches keeps changing".to_owned(),
        })
    }
}

impl Drop for EtcdStorage {
    fn drop(&mut self) {
        self.feeding.abort();
    }
}

impl Shared {
    /// Waits until memory has every transaction that etcd has acknowledged before this was called.
    async fn fresh(&self) -> Result<Revision, StoreError> {
        let head = RangeRequest {
            key: self.keys.head.clone().into_bytes(),
            keys_only: true,
            ..RangeRequest::default()
        };
        let answer: RangeResponse = self
            .client
            .call("/etcdserverpb.KV/Range", &head)
            .await
            .map_err(|status| unavailable(&status))?;
        let newest = answer.kvs.first().map_or(0, |head| head.mod_revision);
        self.reach(revision(newest)).await?;
        Ok(self.state.read().revision())
    }

    /// Waits until memory has got so far.
    async fn reach(&self, revision: Revision) -> Result<(), StoreError> {
        let mut reached = self.reached.subscribe();
        let waiting = timeout(CATCH_UP, reached.wait_for(|reached| *reached >= revision)).await;
        match waiting {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StoreError::Unavailable {
                reason: format!("etcd: its watch is behind revision {revision}"),
            }),
        }
    }
}

/// etcd's signed revisions as ours.
fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

/// Ours as etcd's.
fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

impl Source for Shared {
    fn events_after(
        &self,
        prefix: &str,
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Event>, Revision), StoreError> {
        self.state.read().events_after(prefix, after, limit)
    }
}

impl Storage for EtcdStorage {
    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(self.decide(ops))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Arc<Record>>, StoreError>> {
        Box::pin(async move {
            self.shared.fresh().await?;
            Ok(self.shared.state.read().get(key).cloned())
        })
    }

    fn list(&self, list: List) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move {
            let known = self.shared.state.read().revision();
            if list.at.is_none_or(|at| at > known) {
                self.shared.fresh().await?;
            }
            self.shared.state.read().list(&list)
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        after: Revision,
    ) -> BoxFuture<'a, Result<Watch, StoreError>> {
        Box::pin(async move {
            let signal = self.shared.signals.subscribe(prefix);
            if after > self.shared.state.read().revision() {
                self.shared.fresh().await?;
            }
            self.shared.state.read().check_watch(prefix, after)?;
            Ok(Watch::new(
                Arc::clone(&self.shared) as Arc<dyn Source>,
                signal,
                prefix.to_owned(),
                after,
            ))
        })
    }

    fn revision(&self) -> Revision {
        self.shared.state.read().revision()
    }

    fn compact(&self, to: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let newest = self.shared.fresh().await?;
            let to = to.min(newest);
            if to > self.shared.state.read().floor() {
                let request = CompactionRequest {
                    revision: number(to),
                };
                let done: Result<CompactionResponse, _> = self
                    .shared
                    .client
                    .call("/etcdserverpb.KV/Compact", &request)
                    .await;
                if let Err(status) = done
                    && status.code() != tonic::Code::OutOfRange
                {
                    return Err(unavailable(&status));
                }
            }
            self.shared.state.write().compact(to);
            Ok(())
        })
    }
}
