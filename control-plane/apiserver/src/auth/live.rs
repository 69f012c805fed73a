//! Keeps the authorizer's picture of roles, bindings and pods what the store says. Reads objects' bytes and hands them on; decides nothing.
//!
//! A background task follows the store. Besides, whoever is about to be refused asks for what the store has that the picture has not yet: a node that
//! was just given a pod must not be refused the pod's Secret because the task has not run.

use std::sync::{Arc, Weak};

use coracle_store::{List, Record, Revision, Storage, StoreError, Watch};
use parking_lot::{Mutex, RwLock};
use tokio::{task::AbortHandle, time::Duration};

use super::{
    node::Graph,
    rbac::{
        Policy,
        policy::{GROUP, Kind},
    },
};

/// Where the pods are.
const PODS: &str = "/registry/core/pods/";
/// How long the task waits after the store failed before it asks again.
const RETRY: Duration = Duration::from_secs(1);

/// What is known.
#[derive(Debug, Default)]
pub struct Picture {
    /// Roles and bindings.
    pub policy: Policy,
    /// Bound pods and what they refer to.
    pub graph: Graph,
}

/// The picture and where it comes from.
pub struct Live {
    store: Arc<dyn Storage>,
    picture: RwLock<Picture>,
    feed: Mutex<Feed>,
    task: Mutex<Option<AbortHandle>>,
}

/// The watches the picture is fed by.
struct Feed {
    watches: Vec<Watch>,
    /// Set when a watch fell behind or failed: the picture must be taken anew.
    broken: bool,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

impl Live {
    /// Takes the picture and keeps following the store until dropped. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the store says.
    pub async fn start(store: Arc<dyn Storage>) -> Result<Arc<Self>, StoreError> {
        let live = Arc::new(Self {
            store,
            picture: RwLock::default(),
            feed: Mutex::new(Feed {
                watches: Vec::new(),
                broken: true,
            }),
            task: Mutex::default(),
        });
        let position = live.take().await?;
        let task = tokio::spawn(follow(Arc::downgrade(&live), position));
        *live.task.lock() = Some(task.abort_handle());
        Ok(live)
    }

    /// Looks at the picture.
    pub fn read<T>(&self, look: impl FnOnce(&Picture) -> T) -> T {
        look(&self.picture.read())
    }

    /// Takes in what the store has told since. Says whether there was anything.
    pub fn catch_up(&self) -> bool {
        let mut feed = self.feed.lock();
        let mut events = Vec::new();
        let mut broken = false;
        for watch in &mut feed.watches {
            // Bounded by what the store has: one pass takes what there is now.
            while let Some(next) = watch.try_next().unwrap_or_else(|error| {
                tracing::debug!(%error, "a watch of the authorizer ended");
                broken = true;
                None
            }) {
                events.extend(next);
            }
        }
        feed.broken |= broken;
        if events.is_empty() {
            return false;
        }
        let mut picture = self.picture.write();
        for event in &events {
            picture.apply(event.key(), event.current.as_deref());
        }
        true
    }

    /// Takes the picture anew.
    async fn take(&self) -> Result<Revision, StoreError> {
        let mut picture = Picture::default();
        let mut watches = Vec::new();
        let position = self.store.revision();
        for prefix in prefixes() {
            let list = List {
                prefix: prefix.clone(),
                ..List::default()
            };
            let page = self.store.list(list).await?;
            for record in &page.records {
                picture.apply(&record.key, Some(record));
            }
            watches.push(self.store.watch(&prefix, page.revision).await?);
        }
        let mut feed = self.feed.lock();
        *self.picture.write() = picture;
        feed.watches = watches;
        feed.broken = false;
        Ok(position)
    }
}

impl Picture {
    fn apply(&mut self, key: &str, record: Option<&Record>) {
        let object = record.map(|record| &*record.value);
        let parts: Vec<&str> = key.split('/').skip(2).collect();
        let applied = match parts.as_slice() {
            ["core", "pods", namespace, name] => self.graph.apply(namespace, name, object),
            [GROUP, plural, place @ .., name] => match (Kind::of(plural), place) {
                (Some(kind @ (Kind::ClusterRole | Kind::ClusterRoleBinding)), []) => {
                    self.policy.apply(kind, None, name, object)
                }
                (Some(kind @ (Kind::Role | Kind::RoleBinding)), [namespace]) => {
                    self.policy.apply(kind, Some(namespace), name, object)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        };
        if let Err(error) = applied {
            tracing::warn!(key, %error, "an object that grants access cannot be read and grants none");
        }
    }
}

fn prefixes() -> [String; 2] {
    [format!("/registry/{GROUP}/"), PODS.to_owned()]
}

/// Follows the store until the picture is dropped.
async fn follow(live: Weak<Live>, mut position: Revision) {
    loop {
        let Err(error) = listen(&live, position).await else {
            return;
        };
        // Falling behind is made good by looking anew; anything else may need time.
        if !matches!(error, StoreError::Compacted { .. }) {
            tracing::warn!(%error, "the authorizer cannot watch the store");
            tokio::time::sleep(RETRY).await;
        }
        loop {
            let Some(live) = live.upgrade() else {
                return;
            };
            match live.take().await {
                Ok(taken) => {
                    position = taken;
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "the authorizer cannot read the store");
                    drop(live);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Catches up whenever something changes after `position`, until the picture is dropped.
///
/// The watches here only ring: the events themselves come through the feed, which [`Live::catch_up`] may have emptied already.
///
/// # Errors
/// Why the picture must be taken anew.
async fn listen(live: &Weak<Live>, position: Revision) -> Result<(), StoreError> {
    let mut bells = Vec::new();
    for prefix in prefixes() {
        let Some(live) = live.upgrade() else {
            return Ok(());
        };
        bells.push(live.store.watch(&prefix, position).await?);
    }
    loop {
        let rings = bells.iter_mut().map(|bell| Box::pin(bell.next()));
        let (rang, _, _) = futures::future::select_all(rings).await;
        let Some(live) = live.upgrade() else {
            return Ok(());
        };
        rang?;
        live.catch_up();
        if live.feed.lock().broken {
            return Err(StoreError::Compacted {
                oldest: live.store.revision(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
